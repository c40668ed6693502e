"""What of a crew's reply is heard at all. A planner may be broken or hostile: what is not wholly a
word of ours, or claims more than a planner may, is dropped here, before anything is made of it.

Whether the rest may happen is the judge's question, not this one.
"""

from __future__ import annotations

from itertools import islice
from typing import TypeVar

import msgspec

from watchkeeper.core.crew import Conclusion, CrewReply, Draft, Thought
from watchkeeper.core.errors import Malformed
from watchkeeper.core.model import ModelCall
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.core.word import canonical, parse
from watchkeeper.remedy.plan import RemedyView
from watchkeeper.remedy.verify import expected_effect

W = TypeVar("W", Draft, Conclusion, Thought, ModelCall)

MOST = 4096
"""Most drafts, ends or thoughts of one turn: more than a fleet's worst moment asks for, and a
bound on what one reply can make the record grow."""

MOST_BYTES = 65_536
"""Longest written form of one of them."""

AGENT = "agent:"


def heard(reply: object, snapshot: Snapshot) -> tuple[CrewReply, tuple[str, ...]]:
    """The part of a reply that is sound, and one sentence for each thing that was dropped (the
    first of them only, where there are many). Never raises.

    What telemetry must show after a step is worked out here, from the step itself: a planner that
    could name its own proof would also end its own effects (S12, S21).
    """
    if not isinstance(reply, CrewReply):
        return CrewReply(), (f"it returned {type(reply).__name__} where a CrewReply was due",)
    wrong: list[str] = []
    drafts = [_own_proof(d, snapshot) for d in _sound(reply.drafts, Draft, wrong) if _may(d, wrong)]
    return (
        CrewReply(
            drafts=tuple(drafts),
            conclusions=tuple(_sound(reply.conclusions, Conclusion, wrong)),
            thoughts=tuple(_sound(reply.thoughts, Thought, wrong)),
            calls=tuple(_sound(reply.calls, ModelCall, wrong)),
        ),
        tuple(wrong[:10]),
    )


def _sound(items: object, kind: type[W], wrong: list[str]) -> list[W]:
    if not isinstance(items, tuple):
        wrong.append(f"its {kind.__name__}s came as {type(items).__name__}, not as a tuple")
        return []
    if len(items) > MOST:
        wrong.append(f"{len(items)} {kind.__name__}s in one turn; {MOST} are heard")
    found = [_whole(item, kind, wrong) for item in islice(items, MOST)]
    return [item for item in found if item is not None]


def _whole(item: object, kind: type[W], wrong: list[str]) -> W | None:
    """The word as it will be read back, each field of the type that it must have; else None. A
    word made in memory is not checked by anybody before this."""
    if not isinstance(item, kind):
        wrong.append(f"{type(item).__name__} where a {kind.__name__} was due")
        return None
    try:
        text = canonical(item)
        if len(text) > MOST_BYTES:
            raise Malformed(f"{len(text)} bytes long; {MOST_BYTES} is the most")
        return parse(text, kind, kind.__name__)
    except Exception as err:  # whatever stands in its fields, the turn goes on
        wrong.append(" ".join(f"{type(err).__name__}: {err}".split())[:300])
        return None


def _may(draft: Draft, wrong: list[str]) -> bool:
    """Some promises give way to a person's own word (S9, S20): no planner signs as one."""
    if not draft.by.startswith(AGENT):
        wrong.append(f"a draft signed {draft.by[:60]!r}; a planner signs as {AGENT}NAME")
        return False
    if not 0.0 <= draft.confidence <= 1.0:
        wrong.append(f"a confidence of {draft.confidence:g}; it lies between 0 and 1")
        return False
    return True


def _own_proof(draft: Draft, snapshot: Snapshot) -> Draft:
    return msgspec.structs.replace(
        draft,
        effect=expected_effect(draft.action, RemedyView(snapshot=snapshot, serves=frozenset())),
    )
