"""Sessions, beyond beginning and ending: proof anew, everywhere, and how often anybody may ask."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.browser.fake_desk import FakeDesk
from tests.core.console_people import lasting, token_of
from tests.core.console_stage import URL, Read, Stage, answer_form, csrf, stage

from watchkeeper.app.console_config import read_console
from watchkeeper.console.app import create_app
from watchkeeper.console.rates import MAX_CLIENTS, Buckets, Limits, Rate
from watchkeeper.console.sessions import IDLE_S, STEP_UP_S, Spans
from watchkeeper.core.errors import UsageError
from watchkeeper.twin.memory import CountingIds, ManualClock


def test_what_stops_work_is_approved_after_a_fresh_login_only() -> None:
    world = stage()
    lasting(world)
    client = world.signed_in()
    world.clock.pass_s(STEP_UP_S - 1)
    assert client.get("/fleet").status_code == 200
    world.clock.pass_s(2)
    form = answer_form(client, world.desk)
    refused = client.post("/a/P-7/answer", data=form)
    assert refused.status_code == 403
    said = Read.of(refused.text)
    assert "Sign in again" in said.text
    assert ("a", "href", "/a/P-7") in said.attributes
    ask = world.desk.ask("P-7")
    assert ask is not None
    assert ask.approvals == ()
    old = client.cookies["watchkeeper-8080"]
    client.post("/login", data={"token": world.link()})
    assert client.cookies["watchkeeper-8080"] != old  # rotated
    assert client.post("/a/P-7/answer", data=form).status_code == 403  # an old form, too
    form = answer_form(client, world.desk)
    assert client.post("/a/P-7/answer", data=form).status_code == 303


def test_the_program_that_approves_is_told_the_same() -> None:
    world = stage()
    lasting(world)
    client = world.signed_in()
    world.clock.pass_s(STEP_UP_S + 1)
    form = answer_form(client, world.desk)
    body = {k: form[k] for k in ("answer", "digest", "nonce", "typed", "reason")}
    given = {"x-csrf-token": form["csrf"]}
    answer = client.post("/api/v1/approvals/P-7/answer", json=body, headers=given)
    assert answer.status_code == 403
    assert "Sign in again" in answer.json()["text"]


@pytest.mark.parametrize("given", ["deny", "not_now"])
def test_to_say_no_needs_no_fresh_login(given: str) -> None:
    world = stage()
    lasting(world)
    client = world.signed_in()
    world.clock.pass_s(STEP_UP_S + 1)
    form = answer_form(client, world.desk, answer=given)
    assert client.post("/a/P-7/answer", data=form).status_code == 303


def test_signing_out_everywhere_ends_ones_own_sessions_and_no_other() -> None:
    world = stage()
    phone, desk, other = world.signed_in(), world.signed_in(), world.signed_in("bob")
    done = phone.post("/logout/everywhere", data={"csrf": csrf(phone)})
    assert (done.status_code, done.headers["location"]) == (303, "/login")
    assert phone.get("/fleet").status_code == 401
    assert desk.get("/fleet").status_code == 401
    assert other.get("/fleet").status_code == 200


def limited(limits: Limits) -> Stage:
    clock, ids = ManualClock(), CountingIds()
    desk = FakeDesk(clock, ids)
    return Stage(
        desk=desk, clock=clock, app=create_app(desk, clock, ids, public_url=URL, limits=limits)
    )


def test_a_person_who_asks_too_often_waits_and_nobody_else_does() -> None:
    world = limited(Limits(reads=Rate(burst=5, per_s=0.5)))
    ann, also_ann, bob = world.signed_in(), world.signed_in(), world.signed_in("bob")
    for client in (ann, also_ann, ann, also_ann, ann):
        assert client.get("/api/v1/status").status_code == 200
    refused = also_ann.get("/api/v1/status")
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "2")
    assert refused.json()["text"] == "Too many requests from ann. Wait 2 s."
    assert bob.get("/api/v1/status").status_code == 200
    world.clock.pass_s(2)
    assert ann.get("/api/v1/status").status_code == 200


def test_changes_are_counted_apart_so_that_a_busy_page_never_keeps_anybody_from_stopping() -> None:
    world = limited(Limits(reads=Rate(burst=2, per_s=0.1), changes=Rate(burst=2, per_s=0.1)))
    ann = world.signed_in()
    token = token_of(ann)
    ann.get("/fleet")
    assert ann.get("/fleet").status_code == 429
    assert ann.post("/stop", data={"csrf": token}).status_code == 303
    assert ann.post("/stop", data={"csrf": token}).status_code == 303
    assert ann.post("/stop", data={"csrf": token}).status_code == 429


def test_an_address_that_asks_too_often_waits_signed_in_or_not() -> None:
    world = limited(Limits(address=Rate(burst=3, per_s=1)))
    stranger = world.stranger()
    codes = [stranger.get("/").status_code for _ in range(5)]
    assert codes == [401, 401, 401, 429, 429]
    assert stranger.get("/").headers["retry-after"] == "1"
    world.clock.pass_s(1)
    assert stranger.get("/healthz").status_code == 200


def test_a_bucket_fills_no_further_than_its_burst_and_forgets_the_longest_unasked() -> None:
    clock = ManualClock()
    buckets = Buckets(clock, Rate(burst=2, per_s=1))
    clock.pass_s(1e6)
    assert [buckets.wait_s("a") for _ in range(3)] == [0, 0, 1]
    clock.step_wall(1e6)  # the wall clock refills nothing
    assert buckets.wait_s("a") == 1
    for n in range(MAX_CLIENTS):
        buckets.wait_s(f"n{n}")
    assert buckets.wait_s("a") == 0
    assert len(buckets) == MAX_CLIENTS


def test_spans_can_be_shorter(tmp_path: Path) -> None:
    clock, ids = ManualClock(), CountingIds()
    desk = FakeDesk(clock, ids)
    app = create_app(desk, clock, ids, public_url=URL, spans=Spans(idle_s=60))
    client = Stage(desk=desk, clock=clock, app=app).signed_in()
    clock.pass_s(61)
    assert IDLE_S > 61
    assert client.get("/fleet").status_code == 401


GOOD = """
public_url = "https://watch.example.com"
[sessions]
idle_minutes = 10
step_up_minutes = 5
[oidc]
issuer = "https://id.example.com"
client_id = "watchkeeper"
roles.operator = ["gpu-oncall"]
"""


def test_a_console_file_says_where_how_long_and_who_signs_in(tmp_path: Path) -> None:
    file = tmp_path / "console.toml"
    file.write_text(GOOD)
    told = read_console(str(file))
    assert told.public_url == "https://watch.example.com"
    assert told.spans() == Spans(idle_s=600, step_up_s=300)
    provider = told.sign_on(ManualClock())
    assert provider is not None
    assert provider.says == "id.example.com"
    assert read_console("").sign_on(ManualClock()) is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (GOOD.replace("https://watch", "http://watch"), "must be https"),
        (GOOD.replace('public_url = "https://watch.example.com"', ""), "needs public_url"),
        (GOOD.replace("https://id", "http://id"), "issuer must be https"),
        (GOOD.replace("idle_minutes = 10", "idle_minutes = 0"), "idle_minutes"),
        (GOOD.replace("idle_minutes", "idle"), "not a valid console file"),
        (GOOD.replace("roles.operator", "roles.root"), "no role is called"),
        (GOOD.replace("client_id", 'client_secret_file = "/gone"\nclient_id'), "cannot be read"),
        ('public_url = "https://watch.example/console"', "without a path"),
        ("public_url = ", "not a valid console file"),
    ],
)
def test_a_console_file_that_is_wrong_is_refused_in_words(
    tmp_path: Path, text: str, why: str
) -> None:
    file = tmp_path / "console.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=why):
        read_console(str(file))
    with pytest.raises(UsageError, match="cannot be read"):
        read_console(str(tmp_path / "none.toml"))
