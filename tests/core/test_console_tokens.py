"""Tokens of programs: shown once, kept as a hash, scoped, over in time, revoked at once."""

from __future__ import annotations

import stat
from datetime import timedelta
from pathlib import Path

import pytest
from starlette.requests import Request
from tests.browser.fake_desk import FakeDesk
from tests.core.console_people import PEOPLE
from tests.core.console_stage import URL, Stage

from watchkeeper.adapters.journal_file import FileJournal
from watchkeeper.adapters.token_file import LONGEST, MOST, TokenFile
from watchkeeper.app.token_calls import token_calls
from watchkeeper.console.app import create_app
from watchkeeper.console.doorkeeper import Doorkeeper
from watchkeeper.console.guard import Place
from watchkeeper.console.rates import Buckets, Rate
from watchkeeper.console.sessions import IDLE_S, Sessions
from watchkeeper.control.record import Record
from watchkeeper.core.desk import Person
from watchkeeper.core.errors import JournalBroken, UsageError
from watchkeeper.core.roles import Role
from watchkeeper.twin.memory import CountingIds, ManualClock

DAY = timedelta(days=1)


@pytest.fixture
def tokens(tmp_path: Path) -> TokenFile:
    return TokenFile(tmp_path / "tokens.json", ManualClock(), CountingIds())


@pytest.fixture
def world(tmp_path: Path) -> tuple[Stage, TokenFile]:
    clock, ids = ManualClock(), CountingIds()
    desk = FakeDesk(clock, ids)
    desk.people_are(*PEOPLE.values())
    tokens = TokenFile(tmp_path / "tokens.json", clock, ids)
    app = create_app(desk, clock, ids, public_url=URL, tokens=tokens)
    return Stage(desk=desk, clock=clock, app=app), tokens


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


def test_what_is_kept_is_a_hash_that_only_the_owner_of_the_home_can_read(
    tokens: TokenFile, tmp_path: Path
) -> None:
    secret, _ = tokens.create("grafana", "ann", ("viewer",), DAY)
    file = tmp_path / "tokens.json"
    assert secret.rpartition("_")[2] not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    again = TokenFile(file, ManualClock(), CountingIds())
    found = again.find(secret)
    assert found is not None
    assert (found.name, found.owner, found.roles) == ("grafana", "ann", ("viewer",))


@pytest.mark.parametrize("guess", ["", "wk_", "wk__", "wk_x_y", "grafana", "wk_{id}_", "wk_{id}_x"])
def test_what_is_not_the_whole_token_finds_nothing(tokens: TokenFile, guess: str) -> None:
    _, token = tokens.create("grafana", "ann", ("viewer",), DAY)
    assert tokens.find(guess.replace("{id}", token.id)) is None


def test_a_token_ends_in_time_and_its_name_is_free_again(tmp_path: Path) -> None:
    clock = ManualClock()
    tokens = TokenFile(tmp_path / "tokens.json", clock, CountingIds())
    secret, _ = tokens.create("grafana", "ann", ("viewer",), DAY)
    with pytest.raises(UsageError, match="already"):
        tokens.create("grafana", "ann", ("viewer",), DAY)
    clock.pass_s(DAY.total_seconds() + 1)
    assert tokens.find(secret) is None
    assert tokens.all() == ()
    tokens.create("grafana", "ann", ("viewer",), DAY)


@pytest.mark.parametrize(
    ("name", "roles", "lasts"),
    [
        ("a", ("approver",), DAY),
        ("a", ("break-glass",), DAY),
        ("a", ("operator",), DAY),
        ("a", ("viewer", "root"), DAY),
        ("a", (), DAY),
        ("a", ("viewer",), timedelta(0)),
        ("a", ("viewer",), LONGEST + DAY),
        ("a b", ("viewer",), DAY),
        ("\x1b[2J", ("viewer",), DAY),
    ],
)
def test_a_token_that_would_hold_too_much_or_too_long_is_not_made(
    tokens: TokenFile, name: str, roles: tuple[str, ...], lasts: timedelta
) -> None:
    with pytest.raises(UsageError):
        tokens.create(name, "ann", roles, lasts)
    assert tokens.all() == ()


def test_tokens_are_bounded(tokens: TokenFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("watchkeeper.adapters.token_file.MOST", 2)
    assert MOST > 2
    for name in ("a", "b"):
        tokens.create(name, "ann", ("viewer",), DAY)
    with pytest.raises(UsageError, match="revoke some"):
        tokens.create("c", "ann", ("viewer",), DAY)


def test_a_file_that_cannot_be_read_or_written_ends_in_our_words(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    file.write_text("[{")
    with pytest.raises(JournalBroken, match="cannot be read"):
        TokenFile(file, ManualClock(), CountingIds())
    nowhere = TokenFile(tmp_path / "gone" / "tokens.json", ManualClock(), CountingIds())
    with pytest.raises(JournalBroken, match="Nothing changed"):
        nowhere.create("a", "ann", ("viewer",), DAY)
    assert nowhere.all() == ()


def test_s4_a_token_reads_and_stops_and_resumes_nothing(world: tuple[Stage, TokenFile]) -> None:
    stage, tokens = world
    secret, _ = tokens.create("grafana", "only-operator", ("viewer",), DAY)
    client = stage.stranger()
    assert client.get("/api/v1/status", headers=bearer(secret)).json()["person"] == "token:grafana"
    assert client.post("/api/v1/resume", json={}, headers=bearer(secret)).status_code == 403
    assert client.post("/api/v1/stop", json={}, headers=bearer(secret)).status_code == 200
    assert stage.desk.board().orders.stopped_by == "token:grafana"
    assert stage.desk.board().orders.stopped


def test_a_token_holds_no_role_that_its_owner_does_not_and_ends_with_them(
    world: tuple[Stage, TokenFile],
) -> None:
    stage, tokens = world
    secret, _ = tokens.create("tester", "only-policy-author", ("policy-author",), DAY)
    client = stage.stranger()
    met = "/api/v1/status"
    assert client.get(met, headers=bearer(secret)).status_code == 200
    stage.desk.people_are(Person(name="only-policy-author", roles=("viewer",)))
    judge = client.post("/report/judge", data={"csrf": ""}, headers=bearer(secret))
    assert "needs the role" in judge.text
    stage.desk.people_are(PEOPLE[Role.VIEWER])
    assert client.get("/api/v1/status", headers=bearer(secret)).status_code == 401


def test_a_revoked_token_opens_nothing_at_once(world: tuple[Stage, TokenFile]) -> None:
    stage, tokens = world
    secret, _ = tokens.create("grafana", "only-viewer", ("viewer",), DAY)
    client = stage.stranger()
    assert client.get("/api/v1/fleet", headers=bearer(secret)).status_code == 200
    tokens.revoke("grafana")
    assert client.get("/api/v1/fleet", headers=bearer(secret)).status_code == 401
    with pytest.raises(UsageError, match="no token"):
        tokens.revoke("grafana")


def test_a_token_answers_no_question_and_sends_no_form(world: tuple[Stage, TokenFile]) -> None:
    stage, tokens = world
    stage.desk.people_are(Person(name="all", groups=("oncall",), roles=tuple(r for r in Role)))
    secret, _ = tokens.create("runner", "all", ("viewer",), DAY)
    client = stage.stranger()
    ask = stage.desk.ask("P-7")
    assert ask is not None
    given = {"answer": "approve", "digest": ask.digest, "nonce": ask.nonce, "typed": ask.typed_name}
    answer = client.post("/api/v1/approvals/P-7/answer", json=given, headers=bearer(secret))
    assert answer.status_code == 403
    form = client.post("/stop", data={"csrf": ""}, headers=bearer(secret))
    assert form.status_code == 403
    assert not stage.desk.board().orders.stopped


def test_making_and_revoking_stand_in_the_journal_and_the_secret_does_not(
    tmp_path: Path, tokens: TokenFile
) -> None:
    clock = ManualClock()
    journal = FileJournal(tmp_path / "journal", clock)
    desk = FakeDesk(clock, CountingIds())
    calls = token_calls(desk, Record(journal), tokens)
    made = calls["token_create"]("grafana", ["viewer"], 30, "ann")
    assert [t["name"] for t in calls["token_list"]()] == ["grafana"]
    calls["token_revoke"]("grafana", "bob")
    said = [str(e.data) for e in journal.events()]
    journal.close()
    assert "ann made the token grafana (viewer)" in said[0]
    assert "bob revoked the token grafana of ann" in said[1]
    assert made["secret"] not in "".join(said)
    for person, roles in (("nobody", ["viewer"]), ("ann", ["policy-author"])):
        with pytest.raises(UsageError):
            calls["token_create"]("x", roles, 30, person)


def test_an_open_stream_of_a_revoked_token_may_not_go_on(tokens: TokenFile) -> None:
    clock, ids = ManualClock(), CountingIds()
    desk = FakeDesk(clock, ids)
    free = Buckets(clock, Rate(1e9, 1e9))
    keeper = Doorkeeper(desk, Sessions(clock, ids), Place(URL), free, free, tokens)
    secret, _ = tokens.create("grafana", "ann", ("viewer",), DAY)
    request = Request(
        {"type": "http", "headers": [(b"authorization", b"Bearer " + secret.encode())]}
    )
    session = keeper.find(request)
    clock.pass_s(10 * IDLE_S)  # a token has no idle time
    assert keeper.live(session)
    assert not keeper.sessions.fresh(session)
    tokens.revoke("grafana")
    assert not keeper.live(session)
