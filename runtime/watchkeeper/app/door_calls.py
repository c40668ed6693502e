"""The calls behind the command line's door: the desk's, with plain arguments, and `inject`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol

from watchkeeper.control.desk import WatchDesk
from watchkeeper.control.record import Record
from watchkeeper.core.action import PoolReserve, parse_action
from watchkeeper.core.cluster import Reserved
from watchkeeper.core.desk import Person
from watchkeeper.core.errors import UsageError
from watchkeeper.core.event import Kind
from watchkeeper.core.since import since as since_of
from watchkeeper.core.verdict import Answer, Autonomy, Decision

Inject = Callable[..., str]


class Admission(Protocol):
    """Where gangs are handed in."""

    def submit(self, body: dict[str, object]) -> str: ...

    def cancel(self, name: str) -> None: ...


def _by(person: str) -> str:
    return f"person:{person}" if person else "somebody at the door"


def calls(
    desk: WatchDesk,
    wake: Callable[[], None],
    inject: Inject | None,
    record: Record,
    base: str,
    admission: Admission | None = None,
    give_up: Callable[[str], Reserved] | None = None,
) -> dict[str, Callable[..., Any]]:
    """Name to function; what is not here cannot be asked. base: the console's address. admission:
    takes gangs in, where the cluster has a job API. give_up: ends a reservation before its time."""

    def line() -> Admission:
        if admission is None:
            raise UsageError(
                "No gang can be handed in here: it needs Ray's job API. Start the watch with "
                "--job-api, or in the lab."
            )
        return admission

    def submit(body: dict[str, object], person: str = "") -> str:
        name = line().submit(body)
        record.write(Kind.NOTE, (f"job:{name}",), text=f"{name} was handed in.", by=_by(person))
        wake()
        return name

    def reserve(
        pool: str, nodes: int, begin: str, until: str, tenant: str, person: str, reason: str = ""
    ) -> dict[str, str]:
        try:
            action = PoolReserve(
                pool=pool,
                nodes=nodes,
                begin=datetime.fromisoformat(begin),
                until=datetime.fromisoformat(until),
                tenant=tenant,
            )
        except ValueError as err:
            raise UsageError(f"This cannot be reserved: {err}.") from None
        made = desk.reserve(action, answering(person), reason)
        decision = made.decision.value if made.decision is not None else ""
        return {"proposal": made.proposal, "decision": decision, "says": made.says}

    def unreserve(ident: str, person: str = "") -> None:
        if give_up is None:
            raise UsageError("Nothing can be reserved here.")
        kept = give_up(ident)
        text = f"{kept.ident} was given up: {kept.nodes} nodes of {kept.pool} for {kept.whom}."
        record.write(Kind.NOTE, (f"pool:{kept.pool}",), text=text, by=_by(person), durable=True)
        wake()

    def suggest(
        action: dict[str, object], assistant: str, reason: str = "", incident: str = ""
    ) -> dict[str, str]:
        made = desk.suggested(assistant, parse_action(action), reason, incident)
        asked = made.decision is Decision.ASK
        return {
            "status": "pending" if asked else "denied",
            "proposal": made.proposal,
            "says": made.says if not asked else "A person must approve it.",
            "approval_url": f"{base}/a/{made.proposal}" if asked else "",
        }

    def cancel(name: str, person: str = "") -> None:
        line().cancel(name)
        text = f"{name} was taken back."
        record.write(Kind.NOTE, (f"job:{name}",), text=text, by=_by(person))
        wake()

    def answering(name: str) -> Person:
        people = {p.name: p for p in desk.people()}
        if name not in people:
            known = ", ".join(people) or "nobody"
            raise UsageError(
                f"{name!r} is not one of the policy's people ({known}). Say who answers with "
                "--as NAME, or set WATCHKEEPER_PERSON."
            )
        return people[name]

    def anyone(name: str) -> Person:
        return next((p for p in desk.people() if p.name == name), Person(name=name))

    def answer(
        proposal: str, answer: str, person: str, digest: str, nonce: str, reason: str = ""
    ) -> Any:
        return desk.answer(
            proposal,
            Answer(answer),
            answering(person),
            digest=digest,
            nonce=nonce,
            reason=reason,
            door="cli",
        )

    def break_it(fault: str, node: str = "", gpu: int = 0, code: int = 79) -> str:
        if inject is None:
            raise UsageError("inject works in the lab and the twin only.")
        if fault == "node-loss" and not node:
            raise UsageError("Name the node that is to be lost: --node NAME.")
        text = inject(fault=fault, node=node, gpu=gpu, code=code)
        record.write(Kind.INJECTED, (f"node:{node}" if node else "",), text=text, durable=True)
        wake()
        return text

    return {
        "board": desk.board,
        "now": lambda: desk.board().at,
        "health": desk.health,
        "log": lambda after=0, limit=60: desk.log(after, limit),
        "wait": lambda after, timeout_s: desk.wait(after, min(timeout_s, 25.0)),
        "incidents": desk.incidents,
        "explain": desk.explain,
        "asks": desk.asks,
        "ask": desk.ask,
        "answer": answer,
        "break_glass": lambda proposal, person, reason: desk.break_glass(
            proposal, answering(person), reason
        ),
        "review": lambda proposal, person, note="": desk.review(proposal, answering(person), note),
        "login_links": lambda: [(name, f"{base}{path}") for name, path in desk.login_links()],
        "resume": lambda person, reason="": desk.resume(anyone(person), reason),
        "set_autonomy": lambda person, level: desk.set_autonomy(anyone(person), Autonomy(level)),
        "hold": lambda what, until, person, reason="": desk.hold(
            anyone(person), what, datetime.fromisoformat(until), reason
        ),
        "release": lambda ident, person: desk.release(anyone(person), ident),
        "report": lambda since="": desk.report(since_of(since) if since else None),
        "postmortem": desk.postmortem,
        "wake": wake,
        "submit": submit,
        "cancel": cancel,
        "reserve": reserve,
        "suggest": suggest,
        "unreserve": unreserve,
        "inject": break_it,
    }
