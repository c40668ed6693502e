"""`watchkeeper hold` and `release`: leave a part of the cluster alone for a time. Parses and asks
the door; a hold narrows only, so anybody at the door may set one."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from watchkeeper.app.door import ask_watch
from watchkeeper.app.printing import say
from watchkeeper.app.when import span_of, watch_now
from watchkeeper.app.who import me
from watchkeeper.core.errors import UsageError
from watchkeeper.core.hold import KINDS, WHOLE, named
from watchkeeper.core.since import since

AsOption = Annotated[
    str, typer.Option("--as", envvar="WATCHKEEPER_PERSON", help="Who; one of the policy's people")
]


def hold(
    what: Annotated[
        list[str], typer.Argument(help="node:NAME, rack:NAME, pool:NAME, job:NAME, or fleet")
    ],
    until: Annotated[str, typer.Option(help='"07:00", "mon 07:00" or "2026-12-01 07:00"')] = "",
    length: Annotated[str, typer.Option("--for", help="Such as 2h or 30m; else 12h")] = "",
    zone: Annotated[str, typer.Option("--tz", help="The zone of --until")] = "UTC",
    reason: Annotated[str, typer.Option(help="Why; goes into the record")] = "",
    who: AsOption = "",
) -> None:
    """Leave nodes, racks, pools or gangs alone for a time: nothing that takes work or capacity away
    begins there, whatever policy allows."""
    keys = [_key(each) for each in what]
    if until and length:
        raise UsageError("Say --until or --for, not both.")
    if until:
        _, last = span_of("", until, zone, watch_now())
    else:
        told = since(length or "12h")
        if not isinstance(told, timedelta):
            raise UsageError(f"--for {length!r} is not a length of time. Write 2h or 30m.")
        last = watch_now() + told
    made = ask_watch("hold", what=keys, until=last.isoformat(), person=who or me(), reason=reason)
    say(
        f"{made['id']}: {named(made['what'])} is left alone until {last:%Y-%m-%d %H:%M} UTC. "
        f"`watchkeeper release {made['id']}` ends it sooner."
    )


def release(
    ident: Annotated[str, typer.Argument(metavar="ID", help="Such as H-1, from `status`")],
    who: AsOption = "",
) -> None:
    """End a hold before its time. Policy decides there again."""
    ended = ask_watch("release", ident=ident, person=who or me())
    say(f"{ident} is released: {named(ended['what'])}.")


def _key(text: str) -> str:
    kind, colon, name = text.partition(":")
    if text == WHOLE or (colon and kind in KINDS and name):
        return text
    known = ", ".join(f"{k}:NAME" for k in KINDS)
    raise UsageError(f"{text[:60]!r} names nothing that can be held. Write {known}, or {WHOLE}.")
