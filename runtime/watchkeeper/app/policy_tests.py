"""`policy test`: reads a folder's orders and tests, asks `policy.trial`, and says how to end."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from watchkeeper.adapters.policy_files import read_policy_dir, read_test_dir
from watchkeeper.core.errors import PolicyError, UsageError
from watchkeeper.policy.load import load
from watchkeeper.policy.trial import case_text
from watchkeeper.policy.trial.cases import Results, run
from watchkeeper.policy.trial.junit import junit


class Told(NamedTuple):
    """The whole answer as plain values, as text, and the exit code."""

    value: dict[str, Any]
    text: str
    code: int


def run_tests(
    policies: Path,
    *,
    at: datetime,
    coverage: bool,
    min_coverage: float | None,
    junit_file: Path | None,
) -> Told:
    """Run every test of the folder. `at` decides which dates of the orders are over; each test
    has a clock of its own. Raises PolicyError when the orders do not load, or hold what is over;
    UsageError when a folder or the JUnit file is not to be had."""
    policy = load(read_policy_dir(policies), at)
    if policy.over:
        raise PolicyError(policy.over)
    results = run(policy, read_test_dir(policies))
    if junit_file is not None:
        _write(junit_file, junit(results))
    low = min_coverage is not None and results.coverage.percent < min_coverage
    said = _said(results, policies, coverage=coverage or min_coverage is not None)
    if low and not results.problems:
        said += f"\nThat is less than the {min_coverage:g} % that --min-coverage asks for."
    none = not results.results
    code = 3 if results.problems else int(low or none or not results.passed)
    return Told(case_text.value(results), said, code)


def _said(results: Results, policies: Path, *, coverage: bool) -> str:
    if not results.files:
        said = (
            f"There are no tests in {policies}, and without tests nothing is known to be right. "
            "Put them there, in files called NAME_test.yaml beside NAME.yaml."
        )
        return said if not coverage else f"{said}\n\n{case_text.covered(results.coverage)}"
    return case_text.text(results, coverage=coverage)


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as err:
        raise UsageError(f"The results cannot be written to {file}: {err.strerror}.") from err
