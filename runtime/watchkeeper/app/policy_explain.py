"""`policy explain`: finds what is to be explained (a journalled decision or a file of facts), and
the policy that is to explain it."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from watchkeeper.adapters.journal_reading import Reading, checked
from watchkeeper.adapters.policy_files import read_policy_dir
from watchkeeper.core.errors import Malformed, PolicyError, Problem, UsageError
from watchkeeper.core.event import Event, Kind
from watchkeeper.core.verdict import Verdict
from watchkeeper.policy.explain import Explained, as_value, explain, told
from watchkeeper.policy.history.replay import Inputs, inputs_of, recorded
from watchkeeper.policy.load import load
from watchkeeper.policy.model import CheckedPolicy, Prices
from watchkeeper.policy.reader import Reader
from watchkeeper.policy.trial.case_file import Case, cases_of
from watchkeeper.policy.trial.cases import made_ready
from watchkeeper.policy.trial.facts_file import as_tests, keys_of
from watchkeeper.policy.yaml_text import Mapping, compose

SHIFTED_S = 60.0
"""The policy's clock and the record's agree but in lab time; judging takes no minute."""


class Told(NamedTuple):
    """The answer as plain values and as text."""

    value: dict[str, Any]
    text: str


def explain_it(what: str, *, policies: Path | None, journal: Path, test: str, at: datetime) -> Told:
    """Explain a proposal (`P-12`), a verdict by its event number, or a file of facts or tests.

    policies: the orders to explain by; None for those in force at the time, as journalled.
    Raises UsageError, PolicyError, JournalBroken or Malformed, each with what to do about it.
    """
    file = Path(what)
    if file.is_dir():
        raise UsageError(f"{what} is a folder. Name one file in it: tests, or facts.")
    if file.is_file():
        return _of_file(file, policies or Path("policies"), test, at)
    if "/" in what or re.search(r"\.[A-Za-z]{2,5}$", what):
        raise UsageError(f"There is no file {what}.")
    reading = checked(journal)
    event = _decision(reading, what)
    found = recorded(event)
    if found.inputs is None:
        raise Malformed(f"Event {event.seq} cannot be explained: {found.problem}.")
    policy = load(read_policy_dir(policies), at) if policies else _then(reading, found.inputs)
    if lacks := found.inputs.missing(policy, _prices_then(reading, found.inputs)):
        raise Malformed(
            f"Event {event.seq} cannot be explained by these orders: the record lacks "
            f"{', '.join(lacks)}. They read it, and what is not recorded would be denied."
        )
    shifted = abs((event.policy_at - event.at).total_seconds()) > SHIFTED_S
    answer = _told(_explained(found.inputs, policy), found.verdict, lab_time=shifted)
    return _with_people(answer, _people(reading, event))


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


def _people(reading: Reading, verdict: Event) -> list[dict[str, str]]:
    """Who answered the proposal of a verdict, or broke the glass on it; where nobody did and it was
    allowed, the newest yes before it in its incident, which may carry it."""
    proposal, about = str(verdict.data["proposal"]), {*verdict.subject} - {""}
    own: list[dict[str, str]] = []
    carried: list[dict[str, str]] = []
    for event in reading.events():
        if event.kind not in (Kind.ANSWERED, Kind.BREAK_GLASS) or not about & {*event.subject}:
            continue
        given = event.data.get("approval") or {**event.data["lift"], "answer": "break-glass"}
        one = {name: str(given.get(name, "")) for name in ("person", "answer", "proposal")}
        one |= {"at": f"{event.at:%Y-%m-%d %H:%M:%S} UTC", "reason": str(given.get("reason", ""))}
        if given["proposal"] == proposal:
            own.append(one)
        elif given["answer"] == "approve" and event.seq < verdict.seq:
            carried = [one]
    return own or (carried if verdict.data["verdict"]["decision"] == "allow" else [])


_VERBS = {
    "approve": "approved",
    "deny": "denied",
    "not_now": "said not now to",
    "break-glass": "broke the glass on",
}


def _with_people(answer: Told, people: list[dict[str, str]]) -> Told:
    """The same with who said so; nobody: the same."""
    if not people:
        return answer
    lines = [
        f"  {one['person']} {_VERBS[one['answer']]} {one['proposal']} at {one['at']}"
        + (f": {one['reason']}" if one["reason"] else "")
        for one in people
    ]
    return Told({**answer.value, "people": people}, "\n".join([answer.text, "", "People", *lines]))


def _then(reading: Reading, inputs: Inputs) -> CheckedPolicy:
    """The policy that judged, from the files that the journal holds."""
    for event in reading.events():
        if event.kind is Kind.POLICY_LOADED and event.data["version"] == inputs.policy_version:
            return load(event.data["files"], inputs.now)
    raise UsageError(
        f"The journal does not hold policy {inputs.policy_version or '(none)'}; explain by other "
        "orders with --policies DIR."
    )


def _prices_then(reading: Reading, inputs: Inputs) -> Prices | None:
    """The prices that the input was reckoned at; None where they cannot be told."""
    try:
        return _then(reading, inputs).prices
    except (PolicyError, UsageError):
        return None


def _of_file(file: Path, policies: Path, test: str, at: datetime) -> Told:
    policy = load(read_policy_dir(policies), at)
    text = _text(file)
    data = _as_json(text)
    if data is not None and _is_input(data):
        return _told(_explained(inputs_of(data), policy), None)
    problems: list[Problem] = []
    cases = _cases(file, text, at, problems)
    wrong, ready = made_ready(policy, cases)
    if problems or wrong:
        every = sorted({*problems, *wrong}, key=lambda p: (p.line, p.column))
        raise PolicyError(tuple(every))
    named = [found for found in ready if test in ("", found[0].name)]
    if not named:
        known = "; ".join(case.name for case, _ in ready)
        raise UsageError(f"No test in {file.name} is called {test!r}. There are: {known}.")
    return _joined(
        [_told(_of_case(case, scenario, policy), None, case) for case, scenario in named]
    )


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as err:
        raise Malformed(f"{file} is not UTF-8 text.") from err
    except OSError as err:
        raise UsageError(f"{file} cannot be read: {err.strerror}.") from err


def _as_json(text: str) -> dict[str, Any] | None:
    try:
        data = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return None
    return data if isinstance(data, dict) else None


def _is_input(data: dict[str, Any]) -> bool:
    """Is it a verdict's event data, or the input of one?"""
    found = data.get("input", data)
    return isinstance(found, dict) and "proposal" in found


def _cases(file: Path, text: str, at: datetime, problems: list[Problem]) -> tuple[Case, ...]:
    """The tests of a test file, `expect` or not, or the one case of a file of facts."""
    tree, found = compose(file.name, text)
    problems.extend(found)
    keys = keys_of(tree) if tree is not None else {}
    if tree is None:
        return ()
    if "tests" in keys:
        return cases_of(Reader(file.name, problems), tree, judged=False)
    if isinstance(tree, Mapping) and {"facts", "action"} & keys.keys():
        reader = Reader(file.name, problems)
        whole = as_tests(tree, reader, at)
        return cases_of(reader, whole, judged=False) if whole else ()
    holds = f"It has the keys {', '.join(keys)}." if keys else "It has no keys and values."
    raise Malformed(
        f"{file} is nothing that can be explained. {holds} Give a test file (`tests:`), or a file "
        "of facts, as YAML or JSON: `action: node.drain`, `at: 2026-03-18T02:30 Europe/Berlin`, "
        "`facts: {incident.confidence: 0.9}`."
    )


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


def _told(
    found: Explained,
    recorded: Verdict | None,
    case: Case | None = None,
    *,
    lab_time: bool = False,
) -> Told:
    head = f"{case.name}  {case.file}:{case.line}\n" if case else ""
    value = as_value(found)
    if lab_time:
        value["lab_time"] = True
    if case:
        value["test"] = case.name
    return Told(value, head + told(found, recorded, lab_time=lab_time))


def _joined(all_told: list[Told]) -> Told:
    if len(all_told) == 1:
        return all_told[0]
    return Told(
        {"tests": [one.value for one in all_told]}, "\n\n".join(one.text for one in all_told)
    )
