"""What every request to the console passes: host, origin, token, size, session, headers."""

from __future__ import annotations

import pytest
from starlette.requests import Request
from tests.core.console_stage import FORM, Read, Stage, answer_form, csrf, stage

from watchkeeper.console.doorkeeper import BY_ITSELF
from watchkeeper.console.guard import BODY_LIMIT, CSP
from watchkeeper.console.rates import LOGIN_TRIES
from watchkeeper.console.sessions import ABSOLUTE_S, IDLE_S, MAX_SESSIONS
from watchkeeper.console.trouble import asked_for
from watchkeeper.core.desk import Person

PAGES = (
    "/",
    "/a/P-7",
    "/a/P-8",
    "/incidents",
    "/i/INC-1",
    "/i/INC-2",
    "/fleet",
    "/nodes/train-02",
    "/costs",
    "/journal",
    "/journal?before=5",
)
API = (
    "/api/v1/status",
    "/api/v1/board",
    "/api/v1/log",
    "/api/v1/incidents",
    "/api/v1/incidents/INC-1",
    "/api/v1/approvals",
    "/api/v1/approvals/P-7",
    "/api/v1/nodes",
    "/api/v1/nodes/train-02",
    "/api/v1/fleet",
    "/api/v1/explain/INC-1",
    "/api/v1/journal",
    "/api/v1/costs",
    "/api/v1/what-if?pool=train&add=2",
    "/api/v1/capacity?pool=train",
)
OPEN = ("/login", "/login?token=abc", "/healthz", "/metrics", "/api/v1/openapi.json")
FORMS = ("/logout", "/a/P-7/answer", "/stop", "/resume", "/autonomy", "/ask")


@pytest.fixture
def world() -> Stage:
    return stage()


@pytest.mark.parametrize("path", [*PAGES, *API, *OPEN, "/nowhere", "/static/app.css"])
def test_every_answer_carries_the_security_headers(world: Stage, path: str) -> None:
    answer = world.signed_in().get(path)
    assert answer.status_code in (200, 404)
    assert answer.headers["content-security-policy"] == CSP
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin"
    expected = "no-cache" if path.startswith("/static/") else "no-store"
    assert answer.headers["cache-control"] == expected


def test_a_crash_is_a_page_of_ours_with_all_headers(world: Stage) -> None:
    client = world.signed_in()

    def broken() -> None:
        raise RuntimeError("secret detail")

    world.desk.board = broken  # type: ignore[method-assign, assignment]
    answer = client.get("/")
    assert answer.status_code == 500
    assert answer.headers["content-security-policy"] == CSP
    assert "ours to mend" in answer.text
    assert "secret detail" not in answer.text


@pytest.mark.parametrize("path", PAGES)
def test_no_page_carries_inline_script_or_style(world: Stage, path: str) -> None:
    read = Read.of(world.signed_in().get(path).text)
    assert "style" not in read.tags
    assert not [a for a in read.attributes if a[1] == "style" or a[1].startswith("on")]
    scripts = [a for a in read.attributes if a[0] == "script" and a[1] == "src"]
    assert len(scripts) == read.tags.count("script")


@pytest.mark.parametrize("path", [*PAGES, "/events"])
def test_a_page_without_a_session_says_how_to_sign_in_and_nothing_else(
    world: Stage, path: str
) -> None:
    answer = world.stranger().get(path)
    assert answer.status_code == 401
    said = Read.of(answer.text).text
    assert "watchkeeper login" in said
    assert "train-0" not in said  # the address that was asked for is in a link, not in the text
    assert "xid" not in answer.text.lower()


@pytest.mark.parametrize("path", API)
def test_the_api_without_a_session_answers_401_in_json(world: Stage, path: str) -> None:
    answer = world.stranger().get(path)
    assert answer.status_code == 401
    assert answer.json()["code"] == 401


@pytest.mark.parametrize("path", [*PAGES, *API, *OPEN])
def test_reading_changes_nothing(world: Stage, path: str) -> None:
    client = world.signed_in()
    before = (world.desk.events(), world.desk.asks(), world.desk.board().orders)
    client.get(path)
    assert (world.desk.events(), world.desk.asks(), world.desk.board().orders) == before


@pytest.mark.parametrize("path", FORMS)
def test_what_changes_something_is_no_get(world: Stage, path: str) -> None:
    # /a/P-7/answer has no page; the rest are forms only.
    assert world.signed_in().get(path).status_code == 405


@pytest.mark.parametrize("path", FORMS)
@pytest.mark.parametrize(
    ("token", "headers", "code"),
    [
        pytest.param("none", {}, 403, id="no token"),
        pytest.param("wrong", {}, 403, id="a wrong token"),
        pytest.param("other", {}, 403, id="another session's token"),
        pytest.param("own", {"origin": "https://evil.example"}, 403, id="a foreign origin"),
        pytest.param("own", {"origin": "null"}, 403, id="an opaque origin"),
        pytest.param("own", {"origin": "http://127.0.0.1:9999"}, 403, id="another port"),
        pytest.param("own", {"sec-fetch-site": "cross-site"}, 403, id="cross-site"),
        pytest.param("own", {"sec-fetch-site": "same-site"}, 403, id="same site only"),
    ],
)
def test_a_change_from_elsewhere_is_refused_and_changes_nothing(
    world: Stage, path: str, token: str, headers: dict[str, str], code: int
) -> None:
    client, other = world.signed_in(), world.signed_in("bob")
    form = answer_form(client, world.desk, question="why?", level="auto")
    form["csrf"] = {"none": "", "wrong": "x", "other": csrf(other), "own": form["csrf"]}[token]
    before = world.desk.events()
    answer = client.post(path, data=form, headers=headers)
    assert answer.status_code == code
    assert world.desk.events() == before
    assert client.get("/").status_code == 200  # and nobody was signed out


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "http://127.0.0.1:8080", "sec-fetch-site": "same-origin"},
        {"origin": "http://127.0.0.1:8080"},
    ],
    ids=["no browser", "a browser", "an old browser"],
)
def test_a_change_from_our_own_page_is_done(world: Stage, headers: dict[str, str]) -> None:
    client = world.signed_in()
    answer = client.post(
        "/stop", data={"csrf": csrf(client), "reason": "fire drill"}, headers=headers
    )
    assert answer.status_code == 303
    orders = world.desk.board().orders
    assert (orders.stopped, orders.stopped_by, orders.stop_reason) == (True, "ann", "fire drill")


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1", "127.0.0.1:81", "", "localhost.evil"]
)
def test_a_host_that_is_not_ours_is_refused(world: Stage, host: str) -> None:
    answer = world.signed_in().get("/", headers={"host": host})
    assert answer.status_code == 400


def test_the_console_answers_by_both_its_local_names(world: Stage) -> None:
    assert world.stranger().get("/healthz", headers={"host": "localhost:8080"}).status_code == 200


def test_a_body_over_the_limit_is_413_with_and_without_a_length(world: Stage) -> None:
    client = world.signed_in()
    form = {"csrf": csrf(client), "question": "x" * BODY_LIMIT}
    assert client.post("/ask", data=form).status_code == 413

    def chunks() -> object:
        for _ in range(20):
            yield b"x" * 8192

    before = world.desk.events()
    answer = client.post("/ask", content=chunks(), headers=FORM)
    assert answer.status_code == 413
    assert world.desk.events() == before


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        (b"csrf=%ff%fe", FORM),
        (b"csrf=a&csrf=b", FORM),
        ("&".join(f"f{i}=1" for i in range(40)).encode(), FORM),
        (b'{"csrf": "a"}', {"content-type": "application/json"}),
        (b"\xff\xfe", FORM),
    ],
    ids=["bad utf-8", "a field twice", "too many fields", "json", "not ascii"],
)
def test_a_form_that_cannot_be_read_is_400(
    world: Stage, content: bytes, headers: dict[str, str]
) -> None:
    assert world.signed_in().post("/stop", content=content, headers=headers).status_code == 400
    assert not world.desk.board().orders.stopped


@pytest.mark.parametrize("path", ["/", "/a/P-7", "/journal?before=5", "/nodes/train-02"])
def test_who_came_by_a_link_from_a_chat_is_led_to_the_same_page(world: Stage, path: str) -> None:
    # A request that starts elsewhere carries no SameSite=Strict cookie; one from our page does.
    answer = world.stranger().get(path)
    assert answer.status_code == 401
    read = Read.of(answer.text)
    assert "Signed in already? Open this page" in read.text
    assert ("a", "href", path) in read.attributes


@pytest.mark.parametrize(
    ("path", "query", "page"),
    [
        ("//evil.example/a", "", "/evil.example/a"),
        ("/\\evil.example", "", "/evil.example"),
        ("/\\/\t/evil.example", "", "/%09/evil.example"),
        ("/a/P-7", 'x="><b>', "/a/P-7?x=%22%3E%3Cb%3E"),
        ("/" + "a" * 700, "", "/"),
    ],
    ids=["two slashes", "backslash", "tab", "markup", "too long"],
)
def test_the_page_that_is_offered_again_is_always_ours(path: str, query: str, page: str) -> None:
    scope = {
        "type": "http", "method": "GET", "scheme": "http", "path": path, "headers": [],
        "query_string": query.encode(), "server": ("127.0.0.1", 8080),
    }  # fmt: skip
    assert asked_for(Request(scope)).page == page


def test_a_form_sent_without_a_session_is_not_offered_as_a_page(world: Stage) -> None:
    answer = world.stranger().post("/stop", data={"csrf": "x"})
    assert answer.status_code == 401
    assert "Open this page" not in answer.text


def test_a_link_that_is_no_longer_good_says_what_to_run(world: Stage) -> None:
    answer = world.stranger().post("/login", data={"token": "bogus"})
    assert answer.status_code == 403
    said = Read.of(answer.text).text
    assert "This link was used already, or a newer one replaced it." in said
    assert "print a link and open it here: watchkeeper login" in said


def test_a_login_link_is_spent_once_and_looking_at_it_does_not_spend_it(world: Stage) -> None:
    token = world.link()
    client = world.stranger()
    for _ in range(3):
        shown = client.get("/login", params={"token": token})
        assert shown.status_code == 200
        assert Read.of(shown.text).fields == {"token": token}
    first = client.post("/login", data={"token": token})
    assert (first.status_code, first.headers["location"]) == (303, "/")
    again = world.stranger().post("/login", data={"token": token})
    assert again.status_code == 403
    assert "set-cookie" not in again.headers


def test_the_cookie_is_for_this_console_alone(world: Stage) -> None:
    answer = world.stranger().post("/login", data={"token": world.link()})
    cookie = answer.headers["set-cookie"].lower()
    assert cookie.startswith("watchkeeper-8080=")
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "secure" not in cookie.replace("secret", "")


def test_the_cookie_is_secure_behind_https() -> None:
    world = stage("https://watch.example")
    answer = world.stranger().post("/login", data={"token": world.link()})
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-watchkeeper=")
    assert "; Secure" in cookie
    assert answer.headers["strict-transport-security"] == "max-age=31536000"
    assert "strict-transport-security" not in stage().stranger().get("/login").headers
    assert "; Path=/" in cookie


def test_signing_in_again_ends_the_session_before(world: Stage) -> None:
    client = world.signed_in()
    old = client.cookies["watchkeeper-8080"]
    client.post("/login", data={"token": world.link()})
    assert client.cookies["watchkeeper-8080"] != old
    stale = world.stranger()
    assert stale.get("/", headers={"cookie": f"watchkeeper-8080={old}"}).status_code == 401


def test_signing_out_ends_the_session(world: Stage) -> None:
    client = world.signed_in()
    kept = dict(client.cookies)
    assert client.post("/logout", data={"csrf": csrf(client)}).status_code == 303
    again = world.stranger()
    again.cookies.update(kept)
    assert again.get("/").status_code == 401


def test_what_an_open_page_asks_by_itself_keeps_nobody_signed_in(world: Stage) -> None:
    client = world.signed_in()
    world.clock.pass_s(IDLE_S - 1)
    live = {BY_ITSELF: "1"}
    assert client.get("/api/v1/fleet", headers=live).status_code == 200
    assert client.get("/?parts=1", headers=live).status_code == 200
    world.clock.pass_s(2)
    assert client.get("/").status_code == 401


def test_a_session_ends_when_unused_for_half_an_hour(world: Stage) -> None:
    client = world.signed_in()
    world.clock.pass_s(IDLE_S - 1)
    assert client.get("/").status_code == 200
    world.clock.pass_s(IDLE_S + 1)
    assert client.get("/").status_code == 401


def test_a_session_ends_after_twelve_hours_however_busy(world: Stage) -> None:
    client = world.signed_in()
    for _ in range(int(ABSOLUTE_S // 1200)):
        assert client.get("/healthz").status_code == 200
        assert client.get("/fleet").status_code == 200
        world.clock.pass_s(1200)
    world.clock.pass_s(1)
    assert client.get("/fleet").status_code == 401


def test_stepping_the_wall_clock_ends_no_session_and_extends_none(world: Stage) -> None:
    client = world.signed_in()
    world.clock.step_wall(10 * ABSOLUTE_S)
    assert client.get("/fleet").status_code == 200
    world.clock.step_wall(-20 * ABSOLUTE_S)
    world.clock.pass_s(IDLE_S + 1)
    assert client.get("/fleet").status_code == 401


def test_who_leaves_the_policy_is_signed_out(world: Stage) -> None:
    client = world.signed_in()
    world.desk.people_are(Person(name="bob", groups=("oncall",)))
    assert client.get("/").status_code == 401


def test_without_any_policy_people_can_still_stop_and_not_approve(world: Stage) -> None:
    client = world.signed_in()
    world.desk.people_are()
    refused = client.post("/a/P-7/answer", data=answer_form(client, world.desk))
    assert refused.status_code == 403
    assert client.post("/stop", data={"csrf": csrf(client)}).status_code == 303
    assert world.desk.board().orders.stopped


def test_tried_links_are_limited_and_the_limit_passes(world: Stage) -> None:
    client = world.stranger()
    for _ in range(LOGIN_TRIES):
        assert client.post("/login", data={"token": "guess"}).status_code == 403
    limited = client.post("/login", data={"token": world.link()})
    assert limited.status_code == 429
    assert int(limited.headers["retry-after"]) <= 60
    world.clock.pass_s(61)
    assert client.post("/login", data={"token": world.link()}).status_code == 303


def test_sessions_are_bounded_and_the_longest_unused_gives_way(world: Stage) -> None:
    first = world.signed_in()
    second = world.signed_in()
    first.get("/fleet")  # used later than the second one
    for _ in range(MAX_SESSIONS - 1):
        world.signed_in()
    assert first.get("/fleet").status_code == 200
    assert second.get("/fleet").status_code == 401
