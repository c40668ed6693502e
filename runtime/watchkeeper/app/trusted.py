"""How far each model is believed, for the pages and the command line: from the books of a watch and
the settings of trust. Asked by the desk and the door; decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from watchkeeper.control.trusting import RULES, scores_of
from watchkeeper.core.views import Spoken, TrustClass, TrustKind, TrustView, Wrong
from watchkeeper.core.word import plain

if TYPE_CHECKING:
    from watchkeeper.control.books import Books
    from watchkeeper.core.model import Scored
    from watchkeeper_agents.models.settings import TrustSettings
    from watchkeeper_agents.models.trust import Promotion, Standing

MOST_WRONG = 5


def views_of(
    books: Books, now: float, settings: TrustSettings | None = None
) -> tuple[TrustView, ...]:
    """Every agent and model that has results, the rules among them; nothing where no model was ever
    asked. now: steady seconds."""
    from watchkeeper_agents.models.settings import TrustSettings
    from watchkeeper_agents.models.trust import counting, standings

    if not books.model_calls:
        return ()
    settings = settings or TrustSettings()
    scores = counting(scores_of(books), now, settings)
    found = standings(scores, now, settings)
    pairs = dict.fromkeys((own.agent, own.model) for own in found)
    return tuple(
        TrustView(
            agent=agent,
            model=model,
            kinds=_kinds([s for s in scores if (s.agent, s.model) == (agent, model)]),
            classes=tuple(
                _class(own, scores, now, settings)
                for own in found
                if (own.agent, own.model) == (agent, model)
            ),
        )
        for agent, model in sorted(pairs, key=lambda p: (p[0], p[1] == RULES, p[1]))
    )


def _kinds(scores: Sequence[Scored]) -> tuple[TrustKind, ...]:
    from watchkeeper_agents.models.trust import brier, by_kind, reliability

    return tuple(
        TrustKind(
            kind=kind,
            results=count,
            true=round(share, 4),
            brier=round(brier(own) or 0.0, 4),
            bars=tuple(Spoken(said=b.said, true=b.true, of=b.of) for b in reliability(own)),
        )
        for kind, share, count in by_kind(scores)
        if (own := [s for s in scores if s.kind == kind])
    )


def _class(
    own: Standing, scores: Sequence[Scored], now: float, settings: TrustSettings
) -> TrustClass:
    from watchkeeper_agents.models.trust import strategy

    mine = [s for s in scores if (s.agent, s.model, s.fault) == own[:3]]
    rules = own.model == RULES
    who = strategy(scores, own.agent, own.model, own.fault, now, settings)
    drafted = _drafted(own, scores, settings)
    wrong = [s for s in reversed(mine) if not s.happened][:MOST_WRONG]
    return TrustClass(
        fault=own.fault,
        results=own.results,
        true=own.true,
        low=own.low,
        brier=own.brier or 0.0,
        seconds=own.seconds,
        money=own.money,
        decides=RULES if rules else who.who,
        why="" if rules else who.why,
        wrong=tuple(
            Wrong(ago_s=round(now - s.steady, 1), kind=s.kind, confidence=s.confidence)
            for s in wrong
        ),
        draft="" if drafted is None else drafted.name,
    )


def _drafted(own: Standing, scores: Sequence[Scored], settings: TrustSettings) -> Promotion | None:
    """The change of policy that this standing speaks for, by its newest results."""
    from watchkeeper_agents.models.trust import promotion

    mine = [s for s in scores if (s.agent, s.model, s.fault) == own[:3]]
    return promotion(mine[-settings.newest :], own, settings)


def trust_of(books: Books, now: float, settings: TrustSettings | None) -> dict[str, Any]:
    """The same as plain values, with what all calls cost, and each draft whole."""
    from watchkeeper_agents.models.settings import TrustSettings
    from watchkeeper_agents.models.trust import counting, standings

    settings = settings or TrustSettings()
    scores, calls = counting(scores_of(books), now, settings), books.model_calls
    drafts = [
        drafted._asdict()
        for own in standings(scores, now, settings)
        if (drafted := _drafted(own, scores, settings)) is not None
    ]
    return {
        "trust": plain(views_of(books, now, settings)),
        "drafts": drafts,
        "calls": len(calls),
        "cost": round(sum(c.cost for c in calls), 6),
        "tokens": sum(c.tokens_in + c.tokens_out for c in calls),
        "ended": {e: sum(c.ended == e for c in calls) for e in sorted({c.ended for c in calls})},
    }
