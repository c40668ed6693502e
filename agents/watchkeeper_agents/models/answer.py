"""What a model may answer, and the strict reading of it: one option of the closed set, or nothing.

The words beside it are shown to people, cut and cleaned; nothing decides on them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from watchkeeper.core.incident import HypothesisStatus
from watchkeeper.core.word import Word
from watchkeeper_agents.models.case import Case
from watchkeeper_agents.models.figures import kept_to_figures
from watchkeeper_agents.models.plain import in_plain_words

MOST_WHY = 400
MOST_BYTES = 16_384
"""A longer answer is rambling, whatever it holds."""


class NotOpen(ValueError):
    """It chose what was not offered."""


class CauseSaid(Word, frozen=True):
    """What it makes of one of our hypotheses, by its id, and on which evidence."""

    id: str
    status: HypothesisStatus
    because: tuple[str, ...]


class AnswerSaid(Word, frozen=True):
    """The whole answer. causes: in its order, the likeliest first. checks: steps of the runbook
    that a person should take first."""

    option: str
    confidence: float
    why: str
    causes: tuple[CauseSaid, ...] = ()
    checks: tuple[str, ...] = ()


def schema_for(case: Case) -> dict[str, Any]:
    """JSON Schema of the answer to this case: every name in it is one that the case has."""
    evidence = [e.id for e in case.evidence] or ["none"]
    causes = [c.id for c in case.causes] or ["none"]
    steps = [s.id for s in case.runbook] or ["none"]
    cause = {
        "type": "object",
        "additionalProperties": False,
        "required": ["id", "status", "because"],
        "properties": {
            "id": {"type": "string", "enum": causes},
            "status": {"type": "string", "enum": [s.value for s in HypothesisStatus]},
            "because": _list_of(evidence),
        },
    }
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["option", "confidence", "why", "causes", "checks"],
        "properties": {
            "option": {"type": "string", "enum": [o.id for o in case.options]},
            "confidence": {"type": "number", "minimum": 0, "maximum": 1},
            "why": {"type": "string", "maxLength": MOST_WHY},
            "causes": {"type": "array", "maxItems": 8, "items": cause},
            "checks": _list_of(steps),
        },
    }


def _in_our_figures(why: str, case: Case, told: Sequence[str]) -> str:
    """Its words, tamed, with no number in them but the engines'."""
    return in_plain_words(
        kept_to_figures(why[: MOST_WHY * 8], msgspec.to_builtins(case), tuple(told))
    )


def _list_of(names: list[str]) -> dict[str, Any]:
    return {"type": "array", "maxItems": 8, "items": {"type": "string", "enum": names}}


def read_answer(text: str, case: Case, told: Sequence[str] = ()) -> AnswerSaid:
    """The answer, if it is wholly one. told: what tools answered; a figure in its words stays only
    if the case or a tool gave it. Raises ValueError: not JSON alone, an unknown field, a
    number out of range; NotOpen: an option that was not offered. Names of causes, evidence and
    steps that the case does not have are left out."""
    if len(text.encode("utf-8", "replace")) > MOST_BYTES:
        raise ValueError(f"{len(text)} characters long; an answer has at most {MOST_BYTES} bytes")
    try:
        said = msgspec.json.decode(text.strip(), type=AnswerSaid)
    except (ValueError, RecursionError) as err:  # msgspec's own, bad UTF-8, absurd nesting
        raise ValueError(f"not an answer: {err}") from err
    if said.option not in {o.id for o in case.options}:
        raise NotOpen(f"chose {in_plain_words(said.option, 40)!r}, which is not open")
    if not (math.isfinite(said.confidence) and 0.0 <= said.confidence <= 1.0):
        raise ValueError(f"a confidence of {said.confidence:g}; it lies between 0 and 1")
    evidence, causes = {e.id for e in case.evidence}, {c.id for c in case.causes}
    steps = {s.id for s in case.runbook}
    return AnswerSaid(
        option=said.option,
        confidence=said.confidence,
        why=_in_our_figures(said.why, case, told),
        causes=tuple(
            msgspec.structs.replace(c, because=tuple(e for e in c.because if e in evidence)[:8])
            for c in said.causes[:8]
            if c.id in causes
        ),
        checks=tuple(dict.fromkeys(s for s in said.checks if s in steps))[:8],
    )
