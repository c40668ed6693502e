"""The policy in force: read, check, run its own tests, swap in one piece; else keep the last good.

A folder that changes is taken up once it has been still for one look, so that half-written files
alarm nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from watchkeeper.core.errors import PolicyError, Problem, UsageError
from watchkeeper.policy.load import load
from watchkeeper.policy.model import CheckedPolicy
from watchkeeper.policy.trial.cases import failed, run

Files = Mapping[str, str]
"""File name to text."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where orders come from. read: the orders, and the tests beside them. fingerprint: changes
    whenever a file of either does."""

    read: Callable[[], tuple[Files, Files]]
    fingerprint: Callable[[], str]


def take(orders: Files, tests: Files, at: datetime) -> CheckedPolicy:
    """A set that loads and passes its own tests. Raises PolicyError with every problem."""
    policy = load(orders, at)
    if tests:
        problems = failed(run(policy, tests))
        if problems:
            raise PolicyError(problems)
    return policy


class Shelf:
    """Holds one good set and watches its files. Meets `control.watch.PolicyShelf`."""

    def __init__(self, source: Source | None, at: datetime, last_good: Files | None = None) -> None:
        """Load at once. With no source nothing is ever allowed: the watch observes only.

        A watch that is started again goes on with the `last_good` files of its journal when those
        of the folder are no longer good, and says so. Raises PolicyError or UsageError when there
        is no good set at all.
        """
        self._source = source
        self._policy: CheckedPolicy | None = None
        self._problems: tuple[Problem, ...] = ()
        self._announced = False
        self._seen = self._still = source.fingerprint() if source else ""
        if source is None:
            return
        try:
            self._policy = take(*source.read(), at)
        except (PolicyError, UsageError) as err:
            if not last_good:
                raise
            self._policy, self._problems = load(last_good, at), _problems_of(err)

    def current(self) -> CheckedPolicy | None:
        return self._policy

    def tests(self) -> Files:
        """The tests beside the orders, as the folder has them now. Raises UsageError and
        PolicyError."""
        return self._source.read()[1] if self._source else {}

    def changed(self, at: datetime) -> tuple[CheckedPolicy | None, tuple[Problem, ...]] | None:
        """What the files say now, if they changed and have been still since the last call; the
        first call announces the set that was loaded at the start."""
        if self._source is None:
            return None
        if not self._announced:
            self._announced = True
            return self._policy, self._problems
        now = self._source.fingerprint()
        was_still, self._still = now == self._still, now
        if now == self._seen or not was_still:
            return None
        self._seen = now
        try:
            self._policy = take(*self._source.read(), at)
        except (PolicyError, UsageError) as err:
            return self._policy, _problems_of(err)
        return self._policy, ()


def _problems_of(err: PolicyError | UsageError) -> tuple[Problem, ...]:
    if isinstance(err, PolicyError):
        return err.problems
    return (Problem(file="policies", line=1, column=1, message=str(err)),)
