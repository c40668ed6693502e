"""Who may use which route: the table, the routes and what each role really gets are one thing."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sse_starlette import ServerSentEvent
from starlette.testclient import TestClient
from tests.core.console_people import PEOPLE, address, form, routes, sent, token_of
from tests.core.console_stage import Stage, answer_form, csrf, stage

from watchkeeper.console import access
from watchkeeper.console.access import TABLE, Need
from watchkeeper.console.events import Streams
from watchkeeper.core.desk import Person
from watchkeeper.core.roles import EVERYDAY, Role, in_order, roles_of
from watchkeeper.core.verdict import Autonomy

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
CLOSED = sorted(key for key, need in TABLE.items() if need.roles)
POSTS = sorted(path for method, path in TABLE if method == "POST" and path != "/login")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Stage:
    async def at_once(*_: Any) -> AsyncIterator[ServerSentEvent]:
        yield ServerSentEvent(data="the end", event="end")

    monkeypatch.setattr(Streams, "_events", at_once)
    world = stage()
    world.desk.people_are(*PEOPLE.values())
    return world


def test_every_route_stands_in_the_table_and_the_table_names_no_other() -> None:
    assert set(routes(stage().app)) == set(TABLE)


def test_a_route_that_the_table_does_not_name_is_shut_for_everybody(
    world: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = {key: need for key, need in TABLE.items() if key != ("GET", "/fleet")}
    monkeypatch.setattr("watchkeeper.console.doorkeeper.TABLE", without)
    answer = world.signed_in("only-operator").get("/fleet")
    assert answer.status_code == 403
    assert "it is shut" in answer.text


@pytest.mark.parametrize("role", [*Role, None], ids=[*Role, "nobody"])
def test_each_role_gets_what_the_table_says_on_every_route(world: Stage, role: Role | None) -> None:
    wrong = []
    client = world.signed_in(PEOPLE[role].name) if role else world.stranger()
    for method, path in CLOSED:
        answer = sent(world, client, method, path)
        got = "asked to sign in" if answer.status_code == 401 else "let in"
        if answer.status_code == 403 and "needs the role" in answer.text:
            got = "refused"
        held = PEOPLE[role].roles if role else ()
        met = TABLE[method, path].met_by(held)
        want = "asked to sign in" if role is None else "let in" if met else "refused"
        if path.startswith("/logout") and role:
            client = world.signed_in(PEOPLE[role].name)
        if got != want or answer.status_code >= 500:
            wrong.append(f"{method} {address(path)}: {got} ({answer.status_code}), not {want}")
    assert not wrong


def test_every_change_is_refused_from_elsewhere_and_without_the_sessions_token(
    world: Stage,
) -> None:
    world.desk.people_are(
        Person(name="all", groups=("oncall",), roles=tuple(r.value for r in Role))
    )
    client = world.signed_in("all")
    token = token_of(client)
    before = world.desk.events()
    let_in = []
    for path in POSTS:
        for headers, given in (
            ({"origin": "https://evil.example"}, token),
            ({"origin": "null"}, token),
            ({"sec-fetch-site": "cross-site"}, token),
            ({"sec-fetch-site": "same-site"}, token),
            ({}, ""),
            ({}, "wrong"),
        ):
            more = {"json": {}} if path.startswith("/api/") else {"data": form(world, csrf=given)}
            answer = client.post(address(path), headers={**headers, "x-csrf-token": given}, **more)
            if answer.status_code != 403:
                let_in.append((path, headers, given, answer.status_code))
    assert not let_in
    assert world.desk.events() == before


def test_everybody_signed_in_may_stop_and_only_an_operator_resumes(world: Stage) -> None:
    viewer, operator = world.signed_in("only-viewer"), world.signed_in("only-operator")
    assert viewer.post("/stop", data={"csrf": csrf(viewer)}).status_code == 303
    assert world.desk.board().orders.stopped
    assert viewer.post("/resume", data={"csrf": csrf(viewer)}).status_code == 403
    assert world.desk.board().orders.stopped
    assert operator.post("/resume", data={"csrf": csrf(operator)}).status_code == 303
    assert not world.desk.board().orders.stopped


def test_the_dial_goes_down_for_all_and_up_for_operators(world: Stage) -> None:
    for role, now, to, code in (
        (Role.VIEWER, Autonomy.AUTO, Autonomy.ASK, 200),
        (Role.VIEWER, Autonomy.AUTO, Autonomy.OBSERVE, 200),
        (Role.VIEWER, Autonomy.ASK, Autonomy.ASK, 200),
        (Role.VIEWER, Autonomy.ASK, Autonomy.AUTO, 403),
        (Role.APPROVER, Autonomy.OBSERVE, Autonomy.ASK, 403),
        (Role.OPERATOR, Autonomy.OBSERVE, Autonomy.AUTO, 200),
    ):
        client = world.signed_in(PEOPLE[role].name)
        token = token_of(client)
        for door in ("form", "api"):
            world.desk.set_autonomy(PEOPLE[Role.OPERATOR], now)
            if door == "form":
                done = client.post("/autonomy", data={"csrf": token, "level": to.value})
                assert done.status_code == (303 if code == 200 else code)
            else:
                given = {"x-csrf-token": token}
                done = client.post("/api/v1/autonomy", json={"level": to.value}, headers=given)
                assert done.status_code == code
            assert world.desk.board().orders.autonomy == (to if code == 200 else now)


def test_an_approver_outside_the_groups_that_a_question_asks_is_told_by_the_desk(
    world: Stage,
) -> None:
    world.desk.people_are(
        Person(name="gil", groups=("readers",), roles=("viewer", "approver")),
        Person(name="hal", groups=("oncall",), roles=("viewer",)),
    )
    gil, hal = world.signed_in("gil"), world.signed_in("hal")
    assert gil.post("/a/P-7/answer", data=answer_form(gil, world.desk)).status_code == 409
    assert hal.post("/a/P-7/answer", data=answer_form(hal, world.desk)).status_code == 403
    ask = world.desk.ask("P-7")
    assert ask is not None
    assert ask.approvals == ()


def test_a_role_that_is_taken_away_is_gone_at_the_next_request(world: Stage) -> None:
    client = world.signed_in("only-operator")
    token = csrf(client)
    world.desk.people_are(Person(name="only-operator", groups=("oncall",), roles=("viewer",)))
    assert client.post("/resume", data={"csrf": token}).status_code == 403
    world.desk.people_are(Person(name="somebody-else", groups=("oncall",)))
    assert client.get("/fleet").status_code == 401


@pytest.mark.parametrize(
    ("groups", "bound", "roles"),
    [
        (("oncall",), {}, EVERYDAY),
        (("viewer",), {}, (Role.VIEWER,)),
        (("break-glass",), {}, (Role.VIEWER, Role.BREAK_GLASS)),
        (("policy-author", "viewer"), {}, (Role.VIEWER, Role.POLICY_AUTHOR)),
        ((), {}, ()),
        (("oncall",), {"approver": ("oncall",)}, (Role.VIEWER, Role.APPROVER)),
        (("readers",), {"approver": ("oncall",)}, (Role.VIEWER,)),
        (("break-glass",), {"operator": ("oncall",)}, (Role.VIEWER, Role.BREAK_GLASS)),
        (("oncall",), {"break-glass": ("oncall",)}, (Role.VIEWER,)),
    ],
)
def test_groups_give_roles(
    groups: tuple[str, ...], bound: dict[str, tuple[str, ...]], roles: tuple[Role, ...]
) -> None:
    assert roles_of(groups, bound) == tuple(r.value for r in roles)


def test_what_is_no_role_gives_nothing() -> None:
    assert in_order(["root", "admin"]) == ()


def test_the_page_has_the_table_as_it_is() -> None:
    begin, end = "<!-- table: roles -->\n", "<!-- /table -->"
    page = PAGE.read_text()
    head, _, rest = page.partition(begin)
    _, _, tail = rest.partition(end)
    whole = head + begin + _matrix() + end + tail
    if os.environ.get("WATCHKEEPER_WRITE_DOCS"):
        PAGE.write_text(whole)
    assert page == whole, "run with WATCHKEEPER_WRITE_DOCS=1 to write it anew"


def _matrix() -> str:
    lines = ["| route | nobody | " + " | ".join(Role) + " | and then |", "|---" * 8 + "|"]
    for (method, path), need in sorted(TABLE.items(), key=lambda item: (item[0][1], item[0][0])):
        columns = " | ".join("yes" if need.met_by(PEOPLE[r].roles) else "-" for r in Role)
        nobody = "-" if need.roles else "yes"
        lines.append(f"| `{method} {path}` | {nobody} | {columns} | {need.then} |")
    return "\n".join(lines) + "\n"


def test_a_door_for_everybody_is_one_of_these_few() -> None:
    # Reading this list is the review: what is added here is open to the whole network.
    assert {path for (_, path), need in TABLE.items() if not need.roles} == {
        "/login",
        "/login/sign-on",
        "/login/sign-on/back",
        "/healthz",
        "/metrics",
        "/api/v1/openapi.json",
    }
    assert not Need(access.VIEWER).met_by(())


def test_a_stranger_is_never_told_more_than_to_sign_in(world: Stage) -> None:
    client: TestClient = world.stranger()
    for method, path in CLOSED:
        said = sent(world, client, method, path).text
        assert "Scale" not in said
        assert "xid" not in said.lower().replace(address(path).lower(), "")
