"""`watchkeeper trust`: how far each model is believed, by what came of its words; and the change of
policy that a good record speaks for, as a draft for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from watchkeeper.app import door
from watchkeeper.app.printing import Output, OutputOption, say, show
from watchkeeper.app.settings import Home
from watchkeeper.core.tame import harmless

if TYPE_CHECKING:
    from watchkeeper.control.books import Books
    from watchkeeper_agents.models.settings import TrustSettings


def trust_of(books: Books, now: float, settings: TrustSettings | None) -> dict[str, Any]:
    """Standings, reliability and drafts of these books, as plain values. now: steady seconds."""
    from watchkeeper.control.trusting import scores_of
    from watchkeeper_agents.models.settings import TrustSettings
    from watchkeeper_agents.models.trust import promotion, reliability, standings, strategy

    settings = settings or TrustSettings()
    scores = scores_of(books)
    found = []
    for own in standings(scores, now, settings):
        mine = [s for s in scores if (s.agent, s.model, s.fault) == own[:3]]
        who = strategy(scores, own.agent, own.model, own.fault, now, settings)
        found.append(
            own._asdict()
            | {
                "decides": who.who if own.model != "rules" else "rules",
                "why": who.why if own.model != "rules" else "",
                "reliability": [list(b) for b in reliability(mine)],
                "draft": promotion(own, settings),
            }
        )
    calls = books.model_calls
    return {
        "standings": found,
        "calls": len(calls),
        "cost": round(sum(c.cost for c in calls), 6),
        "tokens": sum(c.tokens_in + c.tokens_out for c in calls),
        "ended": {e: sum(c.ended == e for c in calls) for e in sorted({c.ended for c in calls})},
    }


def trust(
    output: OutputOption = Output.TABLE,
    drafts: Annotated[
        bool, typer.Option("--drafts", help="The changes of policy that records speak for")
    ] = False,
) -> None:
    """How far models are believed, by what came of their words."""
    found = door.ask(Home.find().socket, "trust")
    if drafts:
        text = "\n".join(s["draft"] for s in found["standings"] if s["draft"])
        say(harmless(text) if text else "# No record speaks for a change of policy yet.")
        return
    show(output, found, table(found))


def table(found: dict[str, Any]) -> str:
    """The figures for people."""
    lines = [
        f"{found['calls']} calls of models, {found['tokens']} tokens, cost {found['cost']:g}.",
        *(
            f"{s['agent']} on {s['fault']}, {s['model']}: {s['true']:.0%} of {s['results']} came "
            f"true (at least {s['low']:.0%} at 95 %), Brier {s['brier']}, {s['seconds']:.1f} s. "
            + (f"Decides: {s['decides']}; {s['why']}." if s["why"] else "")
            for s in found["standings"]
        ),
    ]
    return "\n".join(map(harmless, lines))
