"""`policy explain`: finds what is to be explained (a journalled decision or a file of facts), and
the policy that is to explain it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from watchkeeper.adapters.journal_reading import Reading, checked
from watchkeeper.adapters.policy_files import read_policy_dir
from watchkeeper.core.errors import Malformed, PolicyError, UsageError
from watchkeeper.core.event import Event, Kind
from watchkeeper.core.verdict import Verdict
from watchkeeper.policy.explain import Explained, as_value, explain, told
from watchkeeper.policy.history.replay import Inputs, inputs_of, recorded
from watchkeeper.policy.load import load
from watchkeeper.policy.model import CheckedPolicy
from watchkeeper.policy.trial.case_file import Case
from watchkeeper.policy.trial.cases import prepared


class Told(NamedTuple):
    """The answer as plain values and as text."""

    value: dict[str, Any]
    text: str


def explain_it(what: str, *, policies: Path | None, journal: Path, test: str, at: datetime) -> Told:
    """Explain a proposal (`P-12`), a verdict by its event number, or a file of facts or tests.

    policies: the orders to explain by; None for those in force at the time, as journalled.
    Raises UsageError, PolicyError, JournalBroken or Malformed, each with what to do about it.
    """
    if Path(what).is_file():
        return _of_file(Path(what), policies or Path("policies"), test, at)
    reading = checked(journal)
    event = _decision(reading, what)
    found = recorded(event)
    if found.inputs is None:
        raise Malformed(f"Event {event.seq} cannot be explained: {found.problem}.")
    policy = load(read_policy_dir(policies), at) if policies else _then(reading, found.inputs)
    return _told(_explained(found.inputs, policy), found.verdict)


def _decision(reading: Reading, what: str) -> Event:
    """The newest verdict on a proposal, or the verdict with this event number."""
    newest = None
    for event in reading.events():
        if event.kind is Kind.VERDICT and (what in event.subject or str(event.seq) == what):
            newest = event
    if newest is None:
        raise UsageError(
            f"{what!r} is neither a file nor a decision in {reading.path.name}. Name a proposal "
            "such as P-12, the number of a verdict (`watchkeeper journal tail`), or a file."
        )
    return newest


def _then(reading: Reading, inputs: Inputs) -> CheckedPolicy:
    """The policy that judged, from the files that the journal holds."""
    for event in reading.events():
        if event.kind is Kind.POLICY_LOADED and event.data["version"] == inputs.policy_version:
            return load(event.data["files"], inputs.now)
    raise UsageError(
        f"The journal does not hold policy {inputs.policy_version or '(none)'}; explain by other "
        "orders with --policies DIR."
    )


def _of_file(file: Path, policies: Path, test: str, at: datetime) -> Told:
    policy = load(read_policy_dir(policies), at)
    text = file.read_text(encoding="utf-8")
    data = _as_json(text)
    if data is not None and "proposal" in data.get("input", data):
        return _told(_explained(inputs_of(data), policy), None)
    problems, cases = prepared(policy, {file.name: _as_test_file(data, text)})
    if problems:
        raise PolicyError(problems)
    named = [found for found in cases if test in ("", found[0].name)]
    if not named:
        known = "; ".join(case.name for case, _ in cases)
        raise UsageError(f"No test in {file.name} is called {test!r}. There are: {known}.")
    return _joined(
        [_told(_of_case(case, scenario, policy), None, case) for case, scenario in named]
    )


def _as_json(text: str) -> dict[str, Any] | None:
    try:
        data = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return None
    return data if isinstance(data, dict) else None


def _as_test_file(data: dict[str, Any] | None, text: str) -> str:
    """A file of facts (`action`, `at`, and dotted facts under `facts`) as a test file of one."""
    if data is None or "facts" not in data:
        return text
    given: dict[str, dict[str, Any]] = {"proposal": {"action": data.get("action", "")}}
    for name, value in data["facts"].items():
        group, _, key = name.partition(".")
        if key and group != "action":
            given.setdefault(group, {})[key] = value
    case = {"name": "facts", "given": given, "expect": {"verdict": "deny"}}
    whole = {
        "apiVersion": "watchkeeper/v1",
        "kind": "PolicyTest",
        "metadata": {"name": "facts"},
        "at": data.get("at", ""),
        "tests": [case],
    }
    return msgspec.json.encode(whole).decode()


def _of_case(case: Case, scenario: Any, policy: CheckedPolicy) -> Explained:
    return explain(
        scenario.proposal,
        scenario.impact,
        scenario.facts,
        scenario.ledger,
        scenario.orders,
        policy,
        case.at,
    )


def _explained(inputs: Inputs, policy: CheckedPolicy) -> Explained:
    return explain(
        inputs.proposal,
        inputs.impact,
        inputs.facts,
        inputs.ledger,
        inputs.orders,
        policy,
        inputs.now,
    )


def _told(found: Explained, recorded: Verdict | None, case: Case | None = None) -> Told:
    head = f"{case.name}  {case.file}:{case.line}\n" if case else ""
    value = as_value(found)
    if case:
        value["test"] = case.name
    return Told(value, head + told(found, recorded))


def _joined(all_told: list[Told]) -> Told:
    if len(all_told) == 1:
        return all_told[0]
    return Told(
        {"tests": [one.value for one in all_told]}, "\n\n".join(one.text for one in all_told)
    )
