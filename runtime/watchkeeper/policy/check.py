"""What `watchkeeper policy check` prints: counts, warnings, and every problem with its place."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from watchkeeper.core.errors import PolicyError, Problem
from watchkeeper.policy.load import load
from watchkeeper.policy.model import CheckedPolicy
from watchkeeper.policy.windows import say


def report(files: Mapping[str, str], at: datetime) -> tuple[str, bool]:
    """(text, is it sound?). Problems come with file:line:column, the line, and a mark below."""
    try:
        policy = load(files, at)
    except PolicyError as err:
        lines = [shown for problem in err.problems for shown in _shown(problem, files)]
        return _unsound(lines, len(err.problems), files), False
    if policy.over:
        lines = [shown for problem in policy.over for shown in _shown(problem, files)]
        lines += ["", "What is over does nothing. A running watch loads the folder all the same."]
        return _unsound(lines, len(policy.over), files), False
    return _sound(policy, files, at), True


def _unsound(lines: list[str], problems: int, files: Mapping[str, str]) -> str:
    return "\n".join(
        [*lines, "", f"{_count(problems, 'problem')} in {_count(len(files), 'file')}."]
    )


def _sound(policy: CheckedPolicy, files: Mapping[str, str], at: datetime) -> str:
    lines = [shown for problem in policy.warnings for shown in _shown(problem, files, "warning: ")]
    people = {person for members in policy.people.values() for person in members}
    counts = (
        _count(len(files), "file"),
        _count(len(policy.rules), "rule"),
        _count(len(policy.windows), "window"),
        _count(len(policy.limits), "limit"),
        *([_count(len(policy.budgets), "budget")] if policy.budgets else []),
        *([_count(len(policy.exemptions), "exception")] if policy.exemptions else []),
        f"{len(people)} {'person' if len(people) == 1 else 'people'}",
        _count(len(policy.warnings), "warning"),
    )
    lines.append(f"The policy is sound: {', '.join(counts)}. Version {policy.version}.")
    lines += [f"  {say(window, at)}" for _, window in sorted(policy.windows.items())]
    return "\n".join(lines)


def _shown(problem: Problem, files: Mapping[str, str], prefix: str = "") -> list[str]:
    place = f"{problem.file}:{problem.line}:{problem.column}: "
    head = f"{place}{prefix}{str(problem)[len(place) :]}"
    source = files.get(problem.file, "").split("\n")
    if not 0 < problem.line <= len(source) or not source[problem.line - 1].strip():
        return [head]
    line = source[problem.line - 1].rstrip()
    return [head, f"    {line}", f"    {' ' * (problem.column - 1)}^"]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
