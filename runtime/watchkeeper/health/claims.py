"""How a possible cause is written down. Asked by `hypotheses` and `causes`; decides nothing."""

from __future__ import annotations

from collections.abc import Iterable

from watchkeeper.core.fault import Fault
from watchkeeper.core.incident import Hypothesis, HypothesisStatus, Signal
from watchkeeper.health.catalogue import meaning
from watchkeeper.health.evidence import confidence, fault_of

PROPOSED, SUPPORTED, REFUTED = HypothesisStatus
MOST_EVIDENCE = 64
"""Signals that one cause names: of a whole rack's, the first will do."""


def claim(text: str, status: HypothesisStatus, on: Iterable[Signal], why: str) -> Hypothesis:
    """One cause. on: the signals for it, or, where it is refuted, those against it."""
    signals = tuple(on)
    sure = 0.05 if status is REFUTED else confidence(signals)
    return Hypothesis(
        claim=text,
        status=status,
        confidence=min(sure, 0.5) if status is PROPOSED else sure,
        evidence=tuple(s.id for s in signals[:MOST_EVIDENCE]),
        why=why,
    )


def that_speak_for(signals: Iterable[Signal], fault: Fault) -> list[Signal]:
    """Those of this class of fault."""
    return [s for s in signals if fault_of(s) is fault]


def with_code(signals: Iterable[Signal], *codes: str) -> list[Signal]:
    """Those with one of these codes."""
    return [s for s in signals if s.code in codes]


def in_words(signals: Iterable[Signal]) -> str:
    """Their codes as short phrases, each once."""
    return "; ".join(sorted({meaning(s.code) for s in signals})[:6])


def of_history(score: float, why: str = "") -> Hypothesis:
    """The node's own past as a cause. No signal speaks for it: it is no evidence of this fault."""
    return Hypothesis(
        claim="a node that fails again and again",
        status=SUPPORTED,
        confidence=score,
        why=why or "by its last 28 days",
    )
