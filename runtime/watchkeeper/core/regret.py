"""What was planned for a pool against what it then needed: the scheduler's realised regret."""

from datetime import datetime

from watchkeeper.core.word import Word


class Regret(Word, frozen=True):
    """One stretch of time in one pool. GPUs and GPU-hours.

    planned: GPUs that the plan of its beginning called for: the forecast's 90 % quantile within
    the hour. had: what the pool had on average. needed: the most that was wanted at once, running
    and waiting. idle and short: GPU-hours that stood free, and that were waited for. method: whose
    plan it was. added: nodes that we added meanwhile.
    """

    pool: str
    since: datetime
    until: datetime
    planned: float
    had: float
    needed: float
    idle: float
    short: float
    method: str
    added: int = 0

    @property
    def over(self) -> float:
        """GPUs planned beyond what was needed; below 0 it was planned too low."""
        return self.planned - self.needed

    def says(self) -> str:
        """The same in one sentence."""
        which = "too many" if self.over >= 0 else "too few"
        grown = f"; {self.added} node{'s were' if self.added > 1 else ' was'} added" * (
            self.added > 0
        )
        when = f"{self.since:%H:%M} to {self.until:%H:%M} UTC"
        return (
            f"Planned {self.planned:.0f} GPUs for {when} ({self.method}), {self.needed:.0f} were "
            f"needed at most: {abs(self.over):.0f} {which}. "
            f"{self.idle:.1f} GPU-hours stood idle, {self.short:.1f} were waited for{grown}."
        )


def total_says(regrets: tuple[Regret, ...]) -> str:
    """Several stretches of one pool in one sentence; "" for fewer than two."""
    if len(regrets) < 2:
        return ""
    idle, short = sum(r.idle for r in regrets), sum(r.short for r in regrets)
    had = sum(r.had * (r.until - r.since).total_seconds() / 3600 for r in regrets)
    low = sum(r.over < 0 for r in regrets)
    share = f" of {had:.0f}" if had else ""
    return (
        f"Over the last {len(regrets)}: {idle:.0f}{share} GPU-hours idle, {short:.1f} waited for; "
        f"planned too low {low} times."
    )
