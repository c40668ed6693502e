"""`watchkeeper policy …`: what a policy author types. Each command reads files, asks one room."""

from __future__ import annotations

import re
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from watchkeeper.app.policy_diff import FailOn
from watchkeeper.app.printing import Output, OutputOption, say, show
from watchkeeper.app.settings import Home
from watchkeeper.core.errors import UsageError

policy_app = typer.Typer(help="Write standing orders that you can trust.", no_args_is_help=True)

PoliciesOption = Annotated[Path, typer.Option(help="Directory of standing orders")]
AtOption = Annotated[
    str,
    typer.Option(help="As of this moment: ISO 8601, or '2026-12-24T12:00 Europe/Berlin'; else now"),
]
POLICIES = Path("policies")
_CLOCK = re.compile(r"[0-9]{2}:[0-9]{2}")


def moment(at: str) -> datetime:
    """The moment that `--at` names; now where it is not given. A time without a zone is UTC.

    Raises UsageError for what is no time, or for one that the clocks of its zone jump over.
    """
    time, _, name = " ".join(at.split()).partition(" ")
    if _CLOCK.match(name):  # `2026-12-24 12:00`, with a zone behind it or not
        clock, _, name = name.partition(" ")
        time = f"{time}T{clock}"
    try:
        found = datetime.fromisoformat(time) if at else datetime.now(UTC)
        zone: tzinfo = ZoneInfo(name) if name else UTC
    except (ValueError, KeyError, OSError):  # what ZoneInfo raises depends on the name
        found, zone = None, UTC
    if found is None or (name and found.tzinfo):
        raise UsageError(
            f"--at {at!r} is not a time. Write it as 2026-12-24T02:30, which is UTC, as "
            "2026-12-24T02:30+01:00, or with an IANA zone: '2026-12-24T02:30 Europe/Berlin'."
        )
    if found.tzinfo:
        return found
    there = found.replace(tzinfo=zone)
    if there.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != found:
        raise UsageError(f"--at {at!r} never comes: the clocks jump over it.")
    return there


@policy_app.command("check")
def check(
    policies: PoliciesOption = POLICIES,
    at: AtOption = "",
    prove: Annotated[
        list[str] | None,
        typer.Option(
            help="Prove this of every case, such as 'node.replace needs a person' or "
            "'is narrower than OLD'; may be given again"
        ),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Find every mistake of every file, with file:line:column; prove what must be so. Tests are
    read as well, and not run."""
    from watchkeeper.adapters.policy_files import read_policy_dir, read_test_dir
    from watchkeeper.policy.check import report
    from watchkeeper.policy.load import load
    from watchkeeper.policy.proof.prove import Outcome
    from watchkeeper.policy.proof.prove import prove as answer
    from watchkeeper.policy.proof.question import folder_of, parse

    asked, when = [(text, parse(text)) for text in prove or ()], moment(at)
    files = read_policy_dir(policies)
    text, good = report(files, when, read_test_dir(policies))
    proofs = []
    for said, question in asked if good else ():
        folder = folder_of(question)
        other = load(read_policy_dir(Path(folder)), when) if folder else None
        proofs.append((said, answer(question, load(files, when), when, other)))
    value = {"sound": good, "text": text, "proofs": [p.as_json(said) for said, p in proofs]}
    show(output, value, "\n".join([text, *(p.shown for _, p in proofs)]))
    if not good:
        raise typer.Exit(3)
    if any(p.outcome is not Outcome.PROVED for _, p in proofs):
        raise typer.Exit(1)


@policy_app.command("diff")
def diff(
    old: Annotated[Path, typer.Argument(help="The orders as they are: a folder")],
    new: Annotated[Path, typer.Argument(help="The orders as they would be: a folder")],
    since: Annotated[str, typer.Option(help="How far back, such as 30d or 12h")] = "30d",
    journal: Annotated[
        Path | None, typer.Option(help="A journal or an export; else that of WATCHKEEPER_HOME")
    ] = None,
    fail_on: Annotated[FailOn, typer.Option(help="Exit 1 when decisions changed like this")] = (
        FailOn.NEVER
    ),
    examples: Annotated[int, typer.Option(min=0, help="Examples for each rule")] = 3,
    output: OutputOption = Output.TABLE,
    at: AtOption = "",
) -> None:
    """Replay past decisions under other orders: what would be allowed, asked or denied now."""
    from watchkeeper.app import policy_diff

    told = policy_diff.diff(
        old,
        new,
        journal=journal,
        since=since,
        at=moment(at),
        fail_on=fail_on,
        examples=examples,
    )
    show(output, told.value, told.text)
    if told.fails:
        raise typer.Exit(1)


@policy_app.command("draft")
def draft(
    sentence: Annotated[str, typer.Argument(help="Such as 'never drain before 06:00'")],
    policies: PoliciesOption = POLICIES,
    since: Annotated[str, typer.Option(help="How far back it is replayed")] = "30d",
    journal: Annotated[
        Path | None, typer.Option(help="A journal or an export; else that of WATCHKEEPER_HOME")
    ] = None,
    models: Annotated[
        str,
        typer.Option(envvar="WATCHKEEPER_MODELS", help="TOML file of models; none: templates"),
    ] = "",
    output: OutputOption = Output.TABLE,
    at: AtOption = "",
) -> None:
    """Draft a policy from a sentence: checked, tested and replayed before it is printed, and never
    taken up."""
    from watchkeeper.app.policy_draft_cli import draft_it

    found = draft_it(sentence, policies, since=since, journal=journal, models=models, at=moment(at))
    show(output, found.value, found.text)
    if not found.sound:
        raise typer.Exit(1)


@policy_app.command("explain")
def explain(
    what: Annotated[str, typer.Argument(help="A proposal (P-12), a verdict's number, or a file")],
    policies: Annotated[
        Path | None, typer.Option(help="Explain by these orders; else by those of the time")
    ] = None,
    journal: Annotated[
        Path | None, typer.Option(help="A journal or an export; else that of WATCHKEEPER_HOME")
    ] = None,
    test: Annotated[str, typer.Option(help="Of a file of tests, only the test of this name")] = "",
    output: OutputOption = Output.TABLE,
    at: AtOption = "",
) -> None:
    """Say why: every rule on one line, with the values that it saw filled in."""
    from watchkeeper.app.policy_explain import explain_it

    path = journal or Home.find().journal / "journal.jsonl"
    told = explain_it(what, policies=policies, journal=path, test=test, at=moment(at))
    show(output, told.value, told.text)


@policy_app.command("test")
def run_tests(
    policies: PoliciesOption = POLICIES,
    coverage: Annotated[
        bool, typer.Option("--coverage", help="Say which rules no test decides both ways")
    ] = False,
    min_coverage: Annotated[
        float | None, typer.Option(min=0, max=100, help="Exit 1 below so many percent of the rules")
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="Write the results here as JUnit XML")] = None,
    output: OutputOption = Output.TABLE,
    at: AtOption = "",
) -> None:
    """Run the tests (*_test.yaml) beside the orders: each case, and what must come out."""
    from watchkeeper.app import policy_tests

    told = policy_tests.run_tests(
        policies, at=moment(at), coverage=coverage, min_coverage=min_coverage, junit_file=junit
    )
    show(output, told.value, told.text)
    if told.code:
        raise typer.Exit(told.code)


@policy_app.command("simulate")
def simulate(
    policies: PoliciesOption = POLICIES,
    nights: Annotated[int, typer.Option(min=1, max=400, help="Nights, 22:00 to 06:00")] = 3,
    days: Annotated[
        float | None, typer.Option(min=0.01, max=400, help="Whole days instead of nights")
    ] = None,
    nodes: Annotated[int, typer.Option(min=8, max=65536, help="Nodes of the twin")] = 256,
    seed: Annotated[int, typer.Option(min=0, help="What breaks, and when")] = 1,
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="So many seeds from --seed on")] = 1,
    against: Annotated[
        Path | None, typer.Option(help="Other orders, played on the same seeds")
    ] = None,
    faults: Annotated[
        float, typer.Option(min=0.01, max=1000, help="Times the published rates of faults")
    ] = 1.0,
    output: OutputOption = Output.TABLE,
) -> None:
    """Play nights of a simulated cluster under these orders: what is done, asked, refused, lost."""
    from watchkeeper.app.policy_simulate import Wanted
    from watchkeeper.app.policy_simulate import simulate as run

    wanted = Wanted(nights, days, nodes, tuple(range(seed, seed + seeds)), faults)
    found = run(policies, against, wanted, lambda text: typer.echo(text, err=True))
    show(output, found.value, found.text)


KeyOption = Annotated[Path, typer.Option(help="A key file in PEM, from `policy keygen`")]


@policy_app.command("keygen")
def keygen(to: Annotated[Path, typer.Option(help="Folder for the two key files")]) -> None:
    """Make a key pair to sign standing orders with."""
    from watchkeeper.adapters.policy_signature import keygen

    made = keygen(to)
    say(f"Key {made.key}. Keep {made.private} to yourself; {made.public} is for those who verify.")


@policy_app.command("sign")
def sign(key: KeyOption, policies: PoliciesOption = POLICIES, at: AtOption = "") -> None:
    """Sign a folder of orders, tests included. Only orders that load are signed."""
    from watchkeeper.adapters.policy_files import read_policy_dir
    from watchkeeper.adapters.policy_signature import sign
    from watchkeeper.policy.load import load

    version = load(read_policy_dir(policies), moment(at)).version
    made = sign(policies, key)
    say(f"Signed {made.files} files, version {version}, with key {made.key}: {made.path}.")


@policy_app.command("verify")
def verify(key: KeyOption, policies: PoliciesOption = POLICIES) -> None:
    """Are these orders exactly those that were signed with this (public) key?"""
    from watchkeeper.adapters.policy_signature import verify

    found = verify(policies, key)
    say(f"The signature fits: {found.files} files as signed with key {found.key}.")
