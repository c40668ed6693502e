"""`watchkeeper submit`, `cancel`, `queue`, `reserve` and `unreserve`: hand a gang in, take it back,
see who waits and why, have nodes kept for a time.

They speak to the running watch. A gang that is handed in waits until it is admitted whole.
"""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from watchkeeper.app.door import ask_watch
from watchkeeper.app.printing import Output, OutputOption, say, show
from watchkeeper.app.when import span_of, watch_now
from watchkeeper.core.errors import Refused
from watchkeeper.core.since import seconds

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The gang's name")]
AsOption = Annotated[
    str, typer.Option("--as", envvar="WATCHKEEPER_PERSON", help="Who asks; goes into the record")
]


def submit(
    name: NameArgument,
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND", help="Its driver")],
    workers: Annotated[int, typer.Option(min=1, help="Workers, one bundle each")] = 1,
    gpus: Annotated[float, typer.Option(min=0.01, help="GPUs of each worker")] = 8.0,
    pool: Annotated[str, typer.Option(help="Its pool; else any")] = "",
    least: Annotated[int, typer.Option(min=0, help="Runs with as few; 0: with all")] = 0,
    within: Annotated[
        str, typer.Option(help="nvlink_domain, rack, leaf or zone that must hold all of it")
    ] = "",
    near: Annotated[str, typer.Option(help="The same, where it should")] = "",
    tenant: Annotated[str, typer.Option(help="Whose it is")] = "",
    priority: Annotated[int, typer.Option(help="Higher comes first")] = 0,
    runtime: Annotated[str, typer.Option(help="Expected, such as 90m or 4h")] = "",
    never_stop: Annotated[
        bool, typer.Option("--never-stop", help="Not to be stopped to make room")
    ] = False,
    who: AsOption = "",
) -> None:
    """Hand in a gang: it waits for its turn, and starts whole or not at all."""
    body = {
        "name": name,
        "entrypoint": shlex.join(command),
        "workers": workers,
        "gpus": gpus,
        "pool": pool,
        "least": least,
        "within": within,
        "near": near,
        "tenant": tenant,
        "priority": priority,
        "runtime_s": seconds(runtime) if runtime else None,
        "preemptible": not never_stop,
    }
    ask_watch("submit", body=body, person=who)
    say(f"{name} waits for {workers * gpus:g} GPUs. `watchkeeper queue` says why it still does.")


def cancel(name: NameArgument, who: AsOption = "") -> None:
    """Take a waiting gang back. One that runs is stopped with `ray job stop`."""
    ask_watch("cancel", name=name, person=who)
    say(f"{name} waits no longer.")


def reserve(
    pool: Annotated[str, typer.Argument(help="The pool")],
    nodes: Annotated[int, typer.Option(min=1, max=1000, help="How many")],
    until: Annotated[str, typer.Option(help='"18:00", "mon 18:00" or "2026-12-01 18:00"')],
    begin: Annotated[str, typer.Option("--from", help="The same; else from now on")] = "",
    zone: Annotated[str, typer.Option("--tz", help="The zone of these times")] = "UTC",
    tenant: Annotated[str, typer.Option(help="Whose work may use them; else nobody's")] = "",
    reason: Annotated[str, typer.Option(help="Why, for those who decide")] = "",
    who: AsOption = "",
) -> None:
    """Have nodes of a pool kept for a time, for one tenant. Policy decides, as of any action."""
    first, last = span_of(begin, until, zone, watch_now())
    found = ask_watch(
        "reserve", pool=pool, nodes=nodes, begin=first.isoformat(), until=last.isoformat(),
        tenant=tenant, person=who, reason=reason,
    )  # fmt: skip
    says = f"{found['proposal']}: {found['says']}"
    match found["decision"]:
        case "deny":
            raise Refused(
                f"{says} Only an order that allows `pool.reserve` lets nodes be kept; "
                "docs/scheduler.md shows one, to be put into the folder of your orders."
            )
        case "ask":
            say(f"{says} `watchkeeper approvals` shows who is asked.")
        case _:
            say(f"{says} `watchkeeper status` shows what is reserved.")


def unreserve(
    ident: Annotated[str, typer.Argument(metavar="ID", help="Such as R3, from `status`")],
    who: AsOption = "",
) -> None:
    """Give up a reservation before its time. What it kept is free at once."""
    ask_watch("unreserve", ident=ident, person=who)
    say(f"{ident} is given up.")


def queue(output: OutputOption = Output.TABLE) -> None:
    """Who waits, for what, and since when it is known how long."""
    found = [job for job in ask_watch("board")["jobs"] if job["state"] == "waiting"]
    lines = [job["why_waits"] or f"{job['name']} waits for {job['gpus']:g} GPUs." for job in found]
    from watchkeeper.core.tame import harmless

    show(output, found, harmless("\n".join(lines)) or "Nobody waits.")
