"""Time and names, handed in. Nothing in a pure room reads a clock or rolls a die."""

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Three times, for three purposes."""

    def now(self) -> datetime:
        """Wall time, aware UTC: what the journal and the pages print."""
        ...

    def policy_now(self) -> datetime:
        """What policy windows see. Equal to `now`, except in a lab started with --lab-time."""
        ...

    def steady(self) -> float:
        """Seconds that only ever pass as real time passes. Rates, budgets, ages and leases use
        it, so a stepped wall clock neither refills nor extends anything (S28)."""
        ...


class Ids(Protocol):
    """Fresh identifiers, and secrets that cannot be guessed."""

    def new(self, prefix: str) -> str:
        """A short id, unique in this cluster's journal, such as `INC-41` or `P-207`."""
        ...

    def secret(self) -> str:
        """At least 128 bits that nobody can guess, URL-safe."""
        ...
