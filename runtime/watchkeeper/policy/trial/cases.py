"""Runs a folder's tests against its policy: what was expected, against what the real judge says.

Asked by `policy test` and before a changed policy is taken into use. It compares the final verdict
and never the truth of one rule alone: a rule can be right, and the verdict wrong. Reads no files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from watchkeeper.core.errors import Problem
from watchkeeper.core.facts import Facts
from watchkeeper.core.floors import enough
from watchkeeper.core.verdict import Decision, Reason, Verdict
from watchkeeper.policy.invariants import INVARIANTS
from watchkeeper.policy.judge import judge
from watchkeeper.policy.model import CheckedPolicy, Rule
from watchkeeper.policy.reader import nearest
from watchkeeper.policy.trace import trace
from watchkeeper.policy.trial.case_file import Case, Said, read_cases
from watchkeeper.policy.trial.coverage import Coverage, Seen, measure, seen_in
from watchkeeper.policy.trial.scenario import Scenario, build
from watchkeeper.policy.trial.scenario_past import Flaw

_SPOKEN_BY_US = ("observe", "ask", "default-deny", "nobody-to-ask", "judge")
"""Ids of reasons that no file holds and no invariant has."""


class Difference(NamedTuple):
    """One part of a verdict that is not as expected, both in words."""

    part: str
    expected: str
    got: str


@dataclass(frozen=True, eq=False, slots=True)
class CaseResult:
    """How one test ended. why: what the verdict says, with places; only where it failed."""

    case: Case
    scenario: Scenario
    verdict: Verdict
    differences: tuple[Difference, ...] = ()
    why: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.differences


@dataclass(frozen=True, eq=False, slots=True)
class Results:
    """How all tests ended. problems: what in the test files cannot be read or cannot be; then no
    test was run. files: how many there are."""

    files: int
    results: tuple[CaseResult, ...] = ()
    problems: tuple[Problem, ...] = ()
    coverage: Coverage = field(default_factory=Coverage)

    @property
    def passed(self) -> bool:
        """Was everything read, and is every verdict as expected?"""
        return not self.problems and not self.failures

    @property
    def failures(self) -> tuple[CaseResult, ...]:
        return tuple(result for result in self.results if not result.passed)


def run(policy: CheckedPolicy, files: Mapping[str, str]) -> Results:
    """Run every test of these files (name -> text) against the policy. Pure; never raises for
    what a file holds."""
    problems, cases = prepared(policy, files)
    if problems:
        return Results(len(files), problems=problems)
    results, seen = [], []
    for case, scenario in cases:
        result, decided = _run_one(policy, case, scenario)
        results.append(result)
        seen.append(decided)
    return Results(len(files), tuple(results), coverage=measure(policy, seen))


def failed(results: Results) -> tuple[Problem, ...]:
    """What is wrong with the tests, or with the policy by them, as problems with their places."""
    wrong = [
        Problem(
            result.case.file,
            result.case.line,
            1,
            f"the test {result.case.name!r} fails: "
            + "; ".join(f"{d.part} should be {d.expected}, is {d.got}" for d in result.differences),
        )
        for result in results.failures
    ]
    return (*results.problems, *wrong)


def prepared(
    policy: CheckedPolicy, files: Mapping[str, str]
) -> tuple[tuple[Problem, ...], list[tuple[Case, Scenario]]]:
    """Every mistake of the test files, or none and each case with what it is judged on."""
    problems: list[Problem] = []
    cases = [case for name in sorted(files) for case in read_cases(name, files[name], problems)]
    wrong, ready = made_ready(policy, cases)
    ordered = sorted({*problems, *wrong}, key=lambda p: (p.file, p.line, p.column, p.message))
    return tuple(ordered), ready


def made_ready(
    policy: CheckedPolicy, cases: Iterable[Case]
) -> tuple[list[Problem], list[tuple[Case, Scenario]]]:
    """What cannot be in these cases, and each other case with what it is judged on."""
    problems: list[Problem] = []
    ready: list[tuple[Case, Scenario]] = []
    for case in cases:
        problems.extend(_unknown_ids(case, policy))
        given = {key: said.value for key, said in case.given.items()}
        built = build(case.kind, given, case.at, policy.prices)
        if isinstance(built, Flaw):
            problems.append(_placed(case, built))
        else:
            ready.append((case, built))
    return problems, ready


def _run_one(policy: CheckedPolicy, case: Case, scenario: Scenario) -> tuple[CaseResult, Seen]:
    proposal, impact, facts, ledger, orders = scenario
    if policy.floors.declared:
        out, size = enough(policy.floors, proposal.action, impact.pool)
        ledger = msgspec.structs.replace(ledger, out=out | ledger.out, size=size | ledger.size)
    verdict = judge(proposal, impact, facts, policy, ledger, orders, case.at)
    seen = seen_in(policy, case.kind, facts, ledger, case.at, verdict)
    differences = tuple(_differences(case.expect, _parts(verdict, policy)))
    why = tuple(_why(case, scenario, verdict, policy)) if differences else ()
    return CaseResult(case, scenario, verdict, differences, why), seen


def _parts(verdict: Verdict, policy: CheckedPolicy) -> dict[str, Any]:
    """A verdict by the keys of `expect`."""
    owes = verdict.obligations
    reasons = verdict.reasons
    parts: dict[str, Any] = {
        "verdict": verdict.decision.value,
        "rules": _deciding(verdict, policy),
        "limits": _ids(r for r in reasons if r.kind == "limit" and r.binds),
        "budgets": _ids(r for r in reasons if r.kind == "budget" and r.binds),
        "shadow": _ids(r for r in reasons if r.shadow),
        "advice": _ids(r for r in reasons if r.kind == "advice"),
        "excepted": _ids(r for r in reasons if r.kind in ("exception", "lifted")),
        "liftable": tuple(sorted(verdict.liftable)),
        "by": _ids(r for r in reasons if r.binds and r.says is Decision.DENY),
        "refused_by": verdict.refused_by or None,
        "verify_within": verdict.verify_within_s,
        "would_be": (verdict.would_be or verdict.decision).value,
        "halts": verdict.halts,
    }
    if owes is not None:
        parts |= {
            "obligations.quorum": owes.quorum,
            "obligations.groups": tuple(sorted(owes.groups)),
            "obligations.expires": owes.expires_s,
            "obligations.on_timeout": owes.on_timeout,
            "obligations.escalate_after": owes.escalate_after_s,
            "obligations.escalate_to": tuple(sorted(owes.escalate_to)),
        }
    return parts


def _deciding(verdict: Verdict, policy: CheckedPolicy) -> tuple[str, ...]:
    """The strictest of the rules that matched: what the rules alone decided. An ask that lacks
    what it requires denies, so it counts among the denies."""
    effects = {rule.id: rule.effect for rule in policy.rules}
    spoken: list[tuple[Decision, str]] = []
    for reason in verdict.reasons:
        if reason.id not in effects or not reason.binds:
            continue
        if reason.kind == "rule":
            spoken.append((effects[reason.id], reason.id))
        elif reason.kind == "requirement" and effects[reason.id] is Decision.ASK:
            spoken.append((Decision.DENY, reason.id))
    strictest = max((effect.strictness for effect, _ in spoken), default=0)
    return tuple(sorted({ident for effect, ident in spoken if effect.strictness == strictest}))


def _ids(reasons: Iterator[Reason]) -> tuple[str, ...]:
    return tuple(sorted({reason.id for reason in reasons}))


def _differences(expect: Mapping[str, Said], got: Mapping[str, Any]) -> Iterator[Difference]:
    for part, wanted in _wanted(expect):
        have = got.get(part)
        if part == "by":  # among all that said no, which may be more
            same = set(wanted) <= set(have or ()) if wanted else not have
        else:
            same = wanted == have
        if not same:
            seconds = part.rpartition(".")[2] in ("expires", "escalate_after", "verify_within")
            named = part.replace(".", ": ").replace("_", " ")
            yield Difference(named, _worded(wanted, seconds), _worded(have, seconds))


def _wanted(expect: Mapping[str, Said]) -> Iterator[tuple[str, Any]]:
    """What is expected, by part, lists in the order in which they are compared."""
    for key, said in expect.items():
        if key != "obligations":
            yield key, tuple(sorted(said.value)) if isinstance(said.value, tuple) else said.value
            continue
        for name, value in said.value.items():
            if isinstance(value, list):
                groups = sorted({group.removeprefix("group:") for group in value})
                yield f"obligations.{name}", tuple(groups)
            else:
                yield f"obligations.{name}", value


def _worded(value: Any, seconds: bool) -> str:
    match value:
        case None | ():
            return "none"
        case bool():
            return "yes" if value else "no"
        case tuple():
            return ", ".join(value)
        case float() | int() if seconds:
            minutes, rest = divmod(value, 60)
            return f"{value:g} s" if rest or not minutes else f"{minutes:g} min"
    return str(value)


def _why(case: Case, scenario: Scenario, verdict: Verdict, policy: CheckedPolicy) -> Iterator[str]:
    """What spoke, with its place; and of the rules that should have, what held them back."""
    for reason in verdict.reasons:
        place = f"{reason.where} " if reason.where else ""
        noted = "" if reason.binds else " (informs only)"
        yield f"{place}{reason.id} says {reason.says.value}{noted}: {reason.text}"
    missing = {ident for key in ("rules", "shadow", "advice") for ident in _of(case, key)}
    missing -= {r.id for r in verdict.reasons}
    _, _, facts, ledger, _ = scenario
    for told in trace(policy, case.kind, facts, ledger, case.at) if missing else ():
        if told.rule.id in missing:
            values = _values(told.rule, facts) if told.state == "false" else ""
            yield f"{told.rule.where} {told.rule.id} did not match: {told.why}{values}"
            missing.discard(told.rule.id)
    for ident in sorted(missing):
        yield f"{ident} does not name {case.kind}"


def _values(rule: Rule, facts: Facts) -> str:
    """What the facts of its condition were; as JSON, for a text may look like a number."""
    names = sorted(rule.when.names & facts.keys()) if rule.when is not None else []
    shown = [f"{name} = {msgspec.json.encode(facts[name]).decode()}" for name in names]
    return f" ({', '.join(shown)})" if shown else ""


def _of(case: Case, key: str) -> tuple[str, ...]:
    said = case.expect.get(key)
    return said.value if said is not None else ()


def _unknown_ids(case: Case, policy: CheckedPolicy) -> Iterator[Problem]:
    """Ids and groups that the policy does not have: such a test could only ever fail."""
    rules = [rule.id for rule in policy.rules]
    limits, budgets = [x.id for x in policy.limits], [x.id for x in policy.budgets]
    written = [*rules, *limits, *budgets]
    known = {
        "rules": rules,
        "advice": written,
        "shadow": written,
        "limits": limits,
        "budgets": budgets,
        "excepted": [*written, *(x.id for x in policy.exemptions)],
        "liftable": written,
        "by": [*written, *dict.fromkeys(i.id for i in INVARIANTS), *_SPOKEN_BY_US],
    }
    for key, among in known.items():
        for ident in _of(case, key):
            if ident not in among:
                yield _problem(case, key, f"the policy has no {ident!r} for `{key}`.", ident, among)
    owed = case.expect.get("obligations")
    for key in ("groups", "escalate_to"):
        for group in owed.value.get(key, ()) if owed is not None else ():
            name = group.removeprefix("group:")
            if name not in policy.people:
                said = f"the policy has no group {name!r}."
                yield _problem(case, "obligations", said, name, policy.people)


def _problem(
    case: Case, key: str, message: str, offending: str, among: list[str] | Mapping[str, Any]
) -> Problem:
    mark = case.expect[key].mark
    hint = nearest(offending, among)
    return Problem(case.file, mark.line, mark.column, message, offending, hint)


def _placed(case: Case, flaw: Flaw) -> Problem:
    """A case that cannot be, placed at the value at fault."""
    said = case.given.get(flaw.key) or case.given.get("proposal.action")
    line, column = (said.mark.line, said.mark.column) if said is not None else (case.line, 1)
    return Problem(case.file, line, column, f"{case.name}: {flaw.message}", flaw.key)
