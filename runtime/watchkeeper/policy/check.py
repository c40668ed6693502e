"""What `watchkeeper policy check` prints: counts, warnings, and every problem with its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from watchkeeper.core.errors import PolicyError, Problem
from watchkeeper.policy.load import load
from watchkeeper.policy.model import CheckedPolicy
from watchkeeper.policy.proof.sense import sense_of
from watchkeeper.policy.trial.case_file import read_cases
from watchkeeper.policy.trial.cases import prepared
from watchkeeper.policy.windows import say


def report(
    files: Mapping[str, str], at: datetime, tests: Mapping[str, str] | None = None
) -> tuple[str, bool]:
    """(text, is it sound?). Problems come with file:line:column, the line, and a mark below.

    tests: the test files beside the orders (name -> text); they are read and not run.
    """
    every = {**files, **(tests or {})}
    try:
        policy = load(files, at)
    except PolicyError as err:
        return _unsound((*err.problems, *_unreadable(tests or {})), every), False
    sense = sense_of(policy)
    if problems := (*sense.never, *prepared(policy, tests or {})[0]):
        return _unsound(problems, every), False
    if policy.over:
        text = _unsound(policy.over, every)
        return (
            f"{text}\nWhat is over does nothing. A running watch loads the folder all the same.",
            False,
        )
    return _sound(policy, (*policy.warnings, *sense.always), files, at), True


def _unreadable(tests: Mapping[str, str]) -> list[Problem]:
    """What can be told of test files without the policy that they test."""
    problems: list[Problem] = []
    for name in sorted(tests):
        read_cases(name, tests[name], problems)
    return problems


def _unsound(problems: Sequence[Problem], files: Mapping[str, str]) -> str:
    lines = [line for problem in problems for line in _shown(problem, files)]
    counts = f"{_count(len(problems), 'problem')} in {_count(len(files), 'file')}."
    return "\n".join([*lines, "", counts])


def _sound(
    policy: CheckedPolicy,
    warnings: Sequence[Problem],
    files: Mapping[str, str],
    at: datetime,
) -> str:
    lines = [shown for problem in warnings for shown in _shown(problem, files, "warning: ")]
    people = {person for members in policy.people.values() for person in members}
    counts = (
        _count(len(files), "file"),
        _count(len(policy.rules), "rule"),
        _count(len(policy.windows), "window"),
        _count(len(policy.limits), "limit"),
        *([_count(len(policy.budgets), "budget")] if policy.budgets else []),
        *([_count(len(policy.exemptions), "exception")] if policy.exemptions else []),
        f"{len(people)} {'person' if len(people) == 1 else 'people'}",
        _count(len(warnings), "warning"),
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
