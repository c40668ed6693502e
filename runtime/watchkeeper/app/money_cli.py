"""`watchkeeper cost`, `capacity` and `what-if`: they read files and print; they change nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from watchkeeper.app.printing import Output, OutputOption, show
from watchkeeper.app.settings import Home
from watchkeeper.core.errors import UsageError

PricesOption = Annotated[
    Path | None,
    typer.Option(envvar="WATCHKEEPER_PRICES", help="Price book; without one costs are unknown"),
]
OrdersOption = Annotated[
    Path | None,
    typer.Option("--policies", help="Orders; else those that the watch loaded last"),
]
JournalOption = Annotated[
    Path | None, typer.Option(help="A journal or an export; else that of WATCHKEEPER_HOME")
]
ForecastOption = Annotated[
    Path | None,
    typer.Option(help="CSV: pool, hour, and a column for each quantile; else the journal's"),
]
HaveOption = Annotated[
    int | None, typer.Option(min=0, help="Nodes of the pool that are there; else as metered")
]
AtOption = Annotated[str, typer.Option(help="As of this moment; else now")]
PoolOption = Annotated[str, typer.Option(help="The pool")]


def _journal(path: Path | None) -> Path:
    return path or Home.find().journal / "journal.jsonl"


def _now(at: str) -> datetime:
    from watchkeeper.app.policy_cli import moment

    return moment(at).astimezone(UTC) if at else datetime.now(UTC)


def cost(
    since: Annotated[str, typer.Option(help="How far back, such as 30d or 12h")] = "30d",
    prices: PricesOption = None,
    policies: OrdersOption = None,
    journal: JournalOption = None,
    output: OutputOption = Output.TABLE,
    at: AtOption = "",
) -> None:
    """Who held which GPUs and what it cost: by tenant, idle, stranded; and how far the month's
    allowances reach."""
    from watchkeeper.app.money import cost as answer
    from watchkeeper.app.policy_diff import span
    from watchkeeper.app.print_money import cost_text
    from watchkeeper.core.word import plain

    when = _now(at) if at else None
    found = answer(_journal(journal), prices, policies, when, span(since)[0])
    show(output, plain(found), cost_text(found))


def capacity(
    pool: PoolOption,
    prices: PricesOption = None,
    policies: OrdersOption = None,
    forecast: ForecastOption = None,
    have: HaveOption = None,
    money_at_most: Annotated[
        float | None, typer.Option(min=0, help="What the plan may cost, in the book's currency")
    ] = None,
    journal: JournalOption = None,
    output: OutputOption = Output.TABLE,
    at: AtOption = "",
) -> None:
    """Which reserved, on-demand, spot and burst nodes hold the demand that is forecast, at the
    service level of the orders, for the least money."""
    from watchkeeper.app.money import capacity as answer
    from watchkeeper.app.print_money import plan_text
    from watchkeeper.core.word import plain

    found = answer(
        pool,
        journal=_journal(journal),
        forecast=forecast,
        prices=prices,
        policies=policies,
        have=have,
        money=money_at_most,
        now=_now(at),
    )
    show(output, plain(found), plan_text(found))


def what_if(
    pool: PoolOption,
    add: Annotated[int, typer.Option(min=-1000, max=1000, help="Nodes more; below 0, fewer")],
    begin: Annotated[str, typer.Option("--from", help="When, such as 22:00; else now")] = "",
    end: Annotated[
        str, typer.Option("--until", help="Until when; else as far as is forecast")
    ] = "",
    tz: Annotated[str, typer.Option(help="The IANA zone of these times")] = "UTC",
    prices: PricesOption = None,
    policies: OrdersOption = None,
    forecast: ForecastOption = None,
    have: HaveOption = None,
    gpus_per_node: Annotated[
        int, typer.Option(min=0, max=256, help="Where no price book tells it")
    ] = 0,
    journal: JournalOption = None,
    output: OutputOption = Output.TABLE,
    at: AtOption = "",
) -> None:
    """What two nodes more tonight would change: hours too full, work that fits nowhere, money."""
    from watchkeeper.app.money import asked_what_if
    from watchkeeper.app.print_money import what_if_text
    from watchkeeper.core.word import plain

    if add == 0:
        raise UsageError("--add 0 changes nothing. Say how many nodes more, or below 0, fewer.")
    found = asked_what_if(
        pool,
        add,
        span=(begin, end, tz),
        journal=_journal(journal),
        forecast=forecast,
        prices=prices,
        policies=policies,
        have=have,
        gpus_per_node=gpus_per_node,
        now=_now(at),
    )
    show(output, plain(found), what_if_text(found))
