"""What `watchkeeper policy test` prints, for people and as plain values for programs."""

from __future__ import annotations

from datetime import UTC
from typing import Any

from watchkeeper.core.action import say
from watchkeeper.policy.trial.cases import CaseResult, Results
from watchkeeper.policy.trial.coverage import Coverage


def text(results: Results, *, coverage: bool) -> str:
    """Problems, or each failure with its reasons; then counts, and the coverage if wanted."""
    if results.problems:
        lines = [str(problem) for problem in results.problems]
        count = _count(len(results.problems), "problem")
        return "\n".join([*lines, "", f"{count} in the tests. No test was run."])
    lines = [line for result in results.failures for line in (*_failure(result), "")]
    failed, total = len(results.failures), len(results.results)
    said = f"{_count(total, 'test')} in {_count(results.files, 'file')}"
    lines.append(f"{said}: {total - failed} passed, {failed} failed.")
    if coverage:
        lines += ["", covered(results.coverage)]
    return "\n".join(lines)


def _failure(result: CaseResult) -> list[str]:
    case = result.case
    at = f"{case.at:%Y-%m-%d %H:%M} {case.at.tzinfo} ({case.at.astimezone(UTC):%H:%M}Z)"
    action = say(result.scenario.proposal.action)
    return [
        f"{case.file}:{case.line}: FAILED: {case.name}",
        *(f"    {d.part}: expected {d.expected}, got {d.got}" for d in result.differences),
        f"    {action}, at {at}:",
        *(f"      {line}" for line in result.why),
    ]


def covered(coverage: Coverage) -> str:
    """Each rule with what no test has shown of it, the share of all, and what bounds refused."""
    lines = []
    for decided in coverage.rules:
        lacks = ", ".join(f"never {word}" for word in decided.lacks)
        counts = f"true {decided.trues}, false {decided.falses}"
        lines.append(f"  {decided.rule.where}: {decided.rule.id}: {lacks or 'covered'} ({counts})")
    total = len(coverage.rules)
    lines.append(
        f"Coverage: {coverage.covered} of {_count(total, 'rule')}, {int(coverage.percent)} %."
    )
    for bound in coverage.bounds:
        times = f"refused in {_count(bound.times, 'test')}" if bound.times else "bound in no test"
        lines.append(f"  {bound.where}: {bound.kind} {bound.id}: {times}")
    return "\n".join(lines)


def value(results: Results) -> dict[str, Any]:
    """All of it as plain values, for `-o json`."""
    coverage = results.coverage
    return {
        "passed": results.passed,
        "files": results.files,
        "tests": len(results.results),
        "failed": len(results.failures),
        "problems": [
            {
                "file": p.file,
                "line": p.line,
                "column": p.column,
                "message": p.message,
                "offending": p.offending,
                "suggestion": p.suggestion,
            }
            for p in results.problems
        ],
        "results": [
            {
                "file": r.case.file,
                "line": r.case.line,
                "name": r.case.name,
                "passed": r.passed,
                "action": r.case.kind,
                "at": r.case.at.isoformat(),
                "verdict": r.verdict.decision.value,
                "differences": [d._asdict() for d in r.differences],
                "why": list(r.why),
            }
            for r in results.results
        ],
        "coverage": {
            "percent": round(coverage.percent, 1),
            "covered": coverage.covered,
            "rules": [
                {
                    "id": d.rule.id,
                    "where": d.rule.where,
                    "true": d.trues,
                    "false": d.falses,
                    "lacks": list(d.lacks),
                }
                for d in coverage.rules
            ],
            "bounds": [b._asdict() for b in coverage.bounds],
        },
    }


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
