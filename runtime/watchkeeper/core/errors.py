"""Every error of ours, grouped by who must act on it.

A refusal by policy is not an error: it is a Verdict.
"""

from __future__ import annotations

from dataclasses import dataclass


class WatchkeeperError(Exception):
    """Root of our errors. `exit_code` is what the command line ends with."""

    exit_code = 1


class UsageError(WatchkeeperError):
    """The operator must change the command, an argument or the environment."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a policy file, placed so that an editor can jump to it."""

    file: str
    line: int
    column: int
    message: str
    offending: str = ""
    suggestion: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}: "
        if not self.suggestion:
            return place + self.message
        return f"{place}{self.message.removesuffix('.')}. Did you mean {self.suggestion!r}?"


class PolicyError(WatchkeeperError):
    """The policy author must act: every problem of every file is in `problems`."""

    exit_code = 3

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(p) for p in problems))


class JournalBroken(WatchkeeperError):
    """The operator must look: the journal is torn, altered, or not writable. Nothing acts."""

    exit_code = 4


class ClusterUnavailable(WatchkeeperError):
    """Try again later: Ray, Redis, the lab or a provider did not answer."""

    exit_code = 5


class NotRunning(WatchkeeperError):
    """No watch answers in this home directory."""

    exit_code = 6


class AlreadyRunning(WatchkeeperError):
    """Another watch holds this home directory, or the port is taken."""

    exit_code = 7


class Malformed(WatchkeeperError):
    """Text that entered from outside does not parse; whoever sent it must mend it."""

    exit_code = 8


class Refused(WatchkeeperError):
    """The desk refused a person's answer (stale, spent, not theirs to give); says why."""

    exit_code = 9


class LeaseLost(WatchkeeperError):
    """Stop now: another executor holds the fence, or ours is no longer current."""


class EffectFailed(WatchkeeperError):
    """A provider refused or failed one effect. The outcome is journalled; nothing is retried."""


class EffectInDoubt(WatchkeeperError):
    """A provider timed out: the effect may or may not have happened. Observe, never repeat."""


class ToolRefused(WatchkeeperError):
    """The model asked for what its tool belt does not hold; the message says what is allowed."""


class Bug(WatchkeeperError):
    """Ours to mend."""

    exit_code = 70
