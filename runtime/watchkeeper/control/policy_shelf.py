"""The policy in force: load, check, swap in one piece; else keep the last good set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from watchkeeper.core.errors import PolicyError, Problem, UsageError
from watchkeeper.policy.load import load
from watchkeeper.policy.model import CheckedPolicy


class Shelf:
    """Holds one checked set and watches its files. Meets `control.watch.PolicyShelf`.

    read gives the files as text; fingerprint changes when they do. With neither (no policy
    directory) nothing is ever allowed: the watch observes only.
    """

    def __init__(
        self,
        read: Callable[[], Mapping[str, str]] | None,
        fingerprint: Callable[[], str] | None,
        at: datetime,
    ) -> None:
        """Load at once. Raises PolicyError or UsageError: a watch never starts on a broken set."""
        self._read = read
        self._fingerprint = fingerprint
        self._seen = ""
        self._policy: CheckedPolicy | None = None
        self._announced = False
        if read is not None and fingerprint is not None:
            self._seen = fingerprint()
            self._policy = load(dict(read()), at)

    def current(self) -> CheckedPolicy | None:
        return self._policy

    def changed(self, at: datetime) -> tuple[CheckedPolicy | None, tuple[Problem, ...]] | None:
        """What the files say now, if they changed; the first call announces the set loaded."""
        if self._read is None or self._fingerprint is None:
            return None
        if not self._announced:
            self._announced = True
            return self._policy, ()
        try:
            now = self._fingerprint()
            if now == self._seen:
                return None
            self._seen = now
            self._policy = load(dict(self._read()), at)
        except PolicyError as err:
            return self._policy, err.problems
        except UsageError as err:
            return self._policy, (Problem(file="policies", line=1, column=1, message=str(err)),)
        return self._policy, ()
