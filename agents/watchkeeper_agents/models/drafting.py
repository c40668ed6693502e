"""A model writes a policy from a sentence, and mends it by what check says. It sees the sentence,
the language and its own last draft; no text of the cluster. What it writes is tried and shown, and
never taken up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from watchkeeper.core.action import KINDS, TRAITS
from watchkeeper.core.facts import FACTS
from watchkeeper.core.redact import redact
from watchkeeper.core.word import Word, digest
from watchkeeper_agents.models.talking import Talker
from watchkeeper_agents.policy_drafts import Written, name_of

MOST_YAML = 8_000


class PolicySaid(Word, frozen=True):
    """Two whole files as texts."""

    policy: str
    tests: str


_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["policy", "tests"],
    "properties": {
        "policy": {"type": "string", "maxLength": MOST_YAML},
        "tests": {"type": "string", "maxLength": MOST_YAML},
    },
}


def writer(talker: Talker, now: Callable[[], float]) -> Callable[..., Written | None]:
    """Writes, and writes again with what was wrong. Each call goes by the talker's own bounds."""

    def write(sentence: str, last: Written | None, wrong: str) -> Written | None:
        told: dict[str, Any] = {
            "sentence": redact(sentence)[:300],
            "actions": [k for k in KINDS if TRAITS[k].changes],
            "facts": {name: fact.type for name, fact in sorted(FACTS.items())},
        }
        if last is not None:
            told["last"] = {"policy": last.text, "tests": last.tests, "wrong": wrong[:2_000]}
        said = talker.in_time(
            lambda: talker.call(
                "chat_policy", told, _SCHEMA, f"draft:{digest(sentence)[:12]}", now(), PolicySaid
            )
        )
        if said is None or not said.policy.strip():
            return None
        return Written(f"{name_of(sentence)}.yaml", said.policy[:MOST_YAML], said.tests[:MOST_YAML])

    return write
