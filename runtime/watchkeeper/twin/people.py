"""How people answer and mend, as the twin plays them. Asked by its driver and by the baselines.

A person answers late, later at night, sometimes never, and is mostly right. Every draw belongs to
one question or one fault, so that what is asked before it does not change it. Never acts.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from watchkeeper.core.word import Word
from watchkeeper.twin.chance import Stream, stream
from watchkeeper.twin.words import HOUR_S, FaultLaw, Scope, TrueFault, TwinSpec


class Reply(Word, frozen=True):
    """One answer: after how many seconds, and yes or no."""

    after_s: float
    approves: bool


class OnCall(Word, frozen=True):
    """Who is asked. Medians are the design's (10 min by day, 60 min at night); the rest is assumed.

    Delays are lognormal with this sigma. silent_day and silent_night: chance that no answer comes
    at all. right: chance that a right step is approved; fooled: chance that a wrong one is.
    Day is from 07:00 to 22:00 in `tz`.
    """

    median_day_s: float = 600.0
    median_night_s: float = 3600.0
    sigma: float = 1.0
    silent_day: float = 0.02
    silent_night: float = 0.10
    right: float = 0.98
    fooled: float = 0.30
    day_from: int = 7
    day_to: int = 22
    tz: str = "Europe/Berlin"

    def is_day(self, at: datetime) -> bool:
        """Whether people are up at this time. at: aware."""
        return self.day_from <= at.astimezone(ZoneInfo(self.tz)).hour < self.day_to

    def answer(self, spec: TwinSpec, question: int, at: datetime, *, right: bool) -> Reply | None:
        """What is answered to the run's question of this number, asked `at` (aware); None when no
        answer comes. right: whether a true fault is there that the step can cure.

        Who would answer at night and gets up first answers by day's median from the morning on,
        if that is sooner.
        """
        chance = stream(spec.seed, Stream.PEOPLE, question)
        silent, late, word = (
            chance.random(),
            math.exp(self.sigma * chance.normal()),
            chance.random(),
        )
        day = self.is_day(at)
        if silent < (self.silent_day if day else self.silent_night):
            return None
        after_s = late * (self.median_day_s if day else self.median_night_s)
        if not day:
            after_s = min(after_s, self._until_morning_s(at) + late * self.median_day_s)
        return Reply(after_s=after_s, approves=word < (self.right if right else self.fooled))

    def _until_morning_s(self, at: datetime) -> float:
        local = at.astimezone(ZoneInfo(self.tz))
        morning = local.replace(hour=self.day_from, minute=0, second=0, microsecond=0)
        if morning <= local:
            morning += timedelta(days=1)
        return (morning.astimezone(at.tzinfo) - at).total_seconds()


REPAIR_SIGMA = 1.0
"""Spread of repairs by hand. Assumed: recovery in OLMo's cluster spreads wider (mean ten times the
median, sigma 2.2), but that counts waiting too."""


FOUND_H = 102.8 / 60
"""People who look after a stopped gang know its broken node after this time on average, and submit
the gang again without it; the repair itself may take days. The mean manual restart of a node's
failure: Acme, NSDI24, Table 3, recalled and not read again."""


def found_s(spec: TwinSpec, law: FaultLaw, fault: TrueFault) -> float:
    """Seconds from onset until people, whom nobody helps, know where this fault is; inf where they
    know it no sooner than they have mended it. What nobody sees is found when it is noticed, and a
    gang cannot leave its storage."""
    avoidable = law.scope not in (Scope.JOB, Scope.STORAGE)
    if law.silent or not avoidable or law.manual_repair_h <= FOUND_H:
        return math.inf
    return manual_repair_s(spec, law, fault) * FOUND_H / law.manual_repair_h


def manual_repair_s(spec: TwinSpec, law: FaultLaw, fault: TrueFault) -> float:
    """Seconds from onset until people, whom nobody helps, have mended this fault.

    Lognormal with the law's hours as its mean; the same for the same fault in every baseline. A
    relapse is drawn anew, by its own luck.
    """
    first = fault.id if fault.relapse_of < 0 else fault.relapse_of
    chance = stream(spec.seed, Stream.REPAIR, first, int(fault.luck * 2**32))
    spread = math.exp(REPAIR_SIGMA * chance.normal() - REPAIR_SIGMA**2 / 2)
    return law.manual_repair_h * HOUR_S * spread
