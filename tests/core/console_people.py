"""One person for each role, and a request for each route: what tests of access ask the console."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import msgspec
from fastapi.routing import iter_route_contexts
from tests.core.console_stage import Stage

from watchkeeper.core.desk import Person
from watchkeeper.core.roles import Role

PEOPLE = {
    role.value: Person(
        name=f"only-{role}",
        groups=("oncall",),
        roles=(Role.VIEWER.value,) if role is Role.VIEWER else (Role.VIEWER.value, role.value),
    )
    for role in Role
}
"""Each holds one role, and is in a group that questions ask: the group alone opens no door."""

PARTS = {"proposal": "P-7", "incident": "INC-1", "name": "train-02", "ident": "INC-1"}
QUERIES = {
    "/api/v1/what-if": "?pool=train&add=2",
    "/api/v1/capacity": "?pool=train",
    "/a/together": "?of=P-7",
    "/api/v1/find": "?q=train",
}


def routes(app: Any) -> Iterator[tuple[str, str]]:
    """(method, path) of every route of the application, but files under /static."""
    for route in iter_route_contexts(app.routes):
        for method in sorted((getattr(route, "methods", None) or set()) - {"HEAD"}):
            yield method, str(getattr(route, "path", ""))


def address(path: str) -> str:
    """The route with names that there are."""
    for part, name in PARTS.items():
        path = path.replace("{" + part + "}", name)
    return path + QUERIES.get(path, "")


def sent(world: Stage, client: Any, method: str, path: str, **more: Any) -> Any:
    """One request as our own page or a program of ours would send it."""
    where = address(path)
    if method == "GET":
        return client.get(where, **more)
    if path.startswith("/api/"):
        return client.post(where, json=_body(path, world), **more)
    token = token_of(client) if client.cookies else ""
    return client.post(where, data=form(world, csrf=token), **more)


def token_of(client: Any) -> str:
    """The session's own token, as a program reads it."""
    return str(client.get("/api/v1/status").json()["csrf"])


def form(world: Stage, **more: str) -> dict[str, str]:
    """Fields enough for every form."""
    return {**_body("/answer", world), "question": "why?", "level": "observe", **more}


def _body(path: str, world: Stage) -> dict[str, str]:
    if path.endswith("/answer"):
        ask = world.desk.ask("P-7")
        assert ask is not None
        return {
            "answer": "approve",
            "digest": ask.digest,
            "nonce": ask.nonce,
            "typed": ask.typed_name,
        }
    return {"level": "observe"} if path.endswith("/autonomy") else {}


def lasting(world: Stage, proposal: str = "P-7") -> None:
    """The question's time is not up for a while."""
    ask = world.desk.ask(proposal)
    assert ask is not None
    later = world.clock.now() + timedelta(hours=8)
    world.desk.put(msgspec.structs.replace(ask, expires_at=later))
