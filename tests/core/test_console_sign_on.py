"""Single sign-on, against a provider of our own over real HTTP: who is let in, and who never is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient
from tests.browser.fake_desk import FakeDesk
from tests.core.console_people import lasting, token_of
from tests.core.console_stage import HOST, URL, Read, Stage, answer_form
from tests.core.oidc_provider import CLIENT, SECRET, Provider, provider

from watchkeeper.adapters.oidc import Oidc, OidcConfig
from watchkeeper.console.app import create_app
from watchkeeper.console.rates import Limits, Rate
from watchkeeper.console.sessions import STEP_UP_S
from watchkeeper.console.sign_on_routes import AWAY_S
from watchkeeper.core.desk import Person
from watchkeeper.core.errors import UsageError
from watchkeeper.twin.memory import CountingIds, ManualClock

BACK = "/login/sign-on/back"
BROWSER = httpx.Client(verify=False)
"""To the provider, which is on loopback: no certificates are read."""


@dataclass
class Gate:
    """The console and its provider."""

    stage: Stage
    provider: Provider

    def leave(self, query: str = "") -> tuple[TestClient, str]:
        """A browser that was sent to the provider, and where that sends it back to."""
        client = self.stage.stranger()
        out = client.get(f"/login/sign-on{query}")
        assert out.status_code == 303, out.text
        at_provider = BROWSER.get(out.headers["location"])
        return client, at_provider.headers["location"].removeprefix(URL)

    def sign_in(self, query: str = "") -> tuple[TestClient, Any]:
        client, back = self.leave(query)
        return client, client.get(back)


@pytest.fixture(scope="module")
def gate() -> Iterator[Gate]:
    clock, ids = ManualClock(), CountingIds()
    desk = FakeDesk(clock, ids)
    with provider(clock) as run:
        config = OidcConfig(
            issuer=run.base,
            client_id=CLIENT,
            says="Example ID",
            roles={"operator": ("gpu-oncall",)},
        )
        app = create_app(desk, clock, ids, public_url=URL, sign_on=Oidc(config, SECRET, clock))
        yield Gate(Stage(desk=desk, clock=clock, app=app), run)


@pytest.fixture(autouse=True)
def _honest(gate: Gate) -> None:
    """Each test begins with a provider that tells the truth, and with no tries counted."""
    gate.provider.lies, gate.provider.signs_with = {}, "own"
    gate.provider.token_answer, gate.provider.names_itself = None, ""
    gate.stage.clock.pass_s(3700)  # also: what is known of the provider is asked anew
    gate.stage.desk.people_are(Person(name="ann", groups=("oncall",)))


def test_a_person_whom_the_provider_knows_is_signed_in_and_goes_on_to_their_page(
    gate: Gate,
) -> None:
    client, back = gate.sign_in("?page=/a/P-7")
    assert back.status_code == 200
    assert ("meta", "content", "0;url=/a/P-7") in Read.of(back.text).attributes
    assert client.get("/a/P-7").status_code == 200
    assert client.get("/api/v1/status").json()["person"] == "ann"


def test_the_request_carries_pkce_state_and_nonce_and_no_secret(gate: Gate) -> None:
    out = gate.stage.stranger().get("/login/sign-on")
    query = httpx.URL(out.headers["location"]).params
    assert (query["response_type"], query["code_challenge_method"]) == ("code", "S256")
    assert len({query["state"], query["nonce"], query["code_challenge"]}) == 3
    assert query["redirect_uri"] == URL + BACK
    assert SECRET not in out.headers["location"]
    cookie = out.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie


def test_claims_give_roles_to_who_is_in_no_file_and_never_a_place_among_who_is_asked(
    gate: Gate,
) -> None:
    gate.provider.lies = {"email": "zoe"}
    client, back = gate.sign_in()
    assert back.status_code == 200
    token = token_of(client)
    assert client.post("/resume", data={"csrf": token}).status_code == 303
    form = answer_form(client, gate.stage.desk)
    assert client.post("/a/P-7/answer", data=form).status_code == 403


NEVER = {
    "a nonce of another login": {"nonce": "other"},
    "no nonce": {"nonce": None},
    "over": {"exp": 1_000_000, "iat": 999_000},
    "no end": {"exp": None},
    "of tomorrow": {"iat": 4_000_000_000},
    "for another client": {"aud": "grafana"},
    "for another too, without saying for whom": {"aud": [CLIENT, "grafana"], "azp": "grafana"},
    "of another issuer": {"iss": "https://evil.example"},
    "no subject": {"sub": None},
    "an address that nobody verified": {"email_verified": False},
    "verified, it says in words": {"email_verified": "true"},
    "no name": {"email": None},
    "a name that is markup": {"email": "<b>ann"},
    "a name that ends the line": {"email": "ann\n"},
    "an agent's name": {"email": "agent:remedy"},
    "a token's name": {"email": "token:grafana"},
    "a list for a name": {"email": ["ann"]},
    "nobody with a role": {"email": "stranger", "groups": ["sales"]},
    "groups that are no list": {"email": "stranger", "groups": {"gpu-oncall": True}},
}


def refused(gate: Gate) -> None:
    client, back = gate.sign_in()
    assert back.status_code == 403, back.text
    assert "set-cookie" not in back.headers or "watchkeeper-8080=" not in back.headers["set-cookie"]
    assert client.get("/fleet").status_code == 401


@pytest.mark.parametrize("lies", NEVER.values(), ids=NEVER.keys())
def test_a_token_that_is_not_for_this_login_lets_nobody_in(
    gate: Gate, lies: dict[str, Any]
) -> None:
    gate.provider.lies = lies
    refused(gate)


@pytest.mark.parametrize("how", ["none", "foreign", "shared"])
def test_a_token_that_the_provider_did_not_sign_lets_nobody_in(gate: Gate, how: str) -> None:
    gate.provider.signs_with = how
    refused(gate)


@pytest.mark.parametrize(
    "answer",
    [
        (200, b"{}"),
        (200, b'{"id_token": 7}'),
        (200, b'{"id_token": "a.b.c"}'),
        (200, b"<html>"),
        (200, b"[" + b"0," * 400_000 + b"0]"),
        (400, b'{"error": "<script>alert(1)</script>"}'),
        (500, b"{}"),
        (302, b"{}"),
    ],
    ids=["none", "a number", "no token", "a page", "too much", "an error", "a crash", "elsewhere"],
)
def test_an_answer_that_cannot_be_lets_nobody_in_and_shows_no_markup(
    gate: Gate, answer: tuple[int, bytes]
) -> None:
    gate.provider.token_answer = answer
    _, back = gate.sign_in()
    assert back.status_code == 403
    assert "<script>alert" not in back.text


def test_a_provider_that_calls_itself_otherwise_is_not_gone_to(gate: Gate) -> None:
    gate.provider.names_itself = "https://evil.example"
    out = gate.stage.stranger().get("/login/sign-on")
    assert out.status_code == 503
    assert "location" not in out.headers


def test_keys_that_the_provider_changed_are_looked_up(gate: Gate) -> None:
    _, first = gate.sign_in()
    assert first.status_code == 200
    gate.stage.clock.pass_s(40)
    gate.provider.signs_with = "new"
    _, second = gate.sign_in()
    assert second.status_code == 200


def test_a_return_is_good_once_and_for_the_browser_that_left(gate: Gate) -> None:
    client, back = gate.leave()
    thief = gate.stage.stranger()
    assert thief.get(back).status_code == 403
    assert client.get(back).status_code == 403  # the thief's try spent it
    client, back = gate.leave()
    assert client.get(back).status_code == 200
    assert client.get(back).status_code == 403


@pytest.mark.parametrize("query", ["", "?state=x&code=y", "?error=access_denied"])
def test_a_return_that_nobody_left_for_is_refused(gate: Gate, query: str) -> None:
    assert gate.stage.stranger().get(BACK + query).status_code == 403


def test_who_stays_away_too_long_begins_anew(gate: Gate) -> None:
    client, back = gate.leave()
    gate.stage.clock.pass_s(AWAY_S + 1)
    assert client.get(back).status_code == 403


@pytest.mark.parametrize("page", ["//evil.example", "https://evil.example", "/\\evil.example", ""])
def test_nobody_is_sent_to_another_site_after_signing_in(gate: Gate, page: str) -> None:
    _, back = gate.sign_in(str(httpx.URL("/", params={"page": page}))[1:])
    assert ("meta", "content", "0;url=/") in Read.of(back.text).attributes


def test_the_session_before_ends_with_the_new_one(gate: Gate) -> None:
    client, _ = gate.sign_in()
    old = client.cookies["watchkeeper-8080"]
    out = client.get("/login/sign-on?fresh=1")
    at_provider = BROWSER.get(out.headers["location"])
    client.get(at_provider.headers["location"].removeprefix(URL))
    assert client.cookies["watchkeeper-8080"] != old
    stale = gate.stage.stranger().get("/", headers={"cookie": f"watchkeeper-8080={old}"})
    assert stale.status_code == 401


def approve(gate: Gate, client: TestClient) -> int:
    form = answer_form(client, gate.stage.desk)
    return int(client.post("/a/P-7/answer", data=form).status_code)


def test_what_stops_work_needs_a_login_that_the_provider_saw_just_now(gate: Gate) -> None:
    lasting(gate.stage)
    gate.provider.lies = {"auth_time": None}
    client, _ = gate.sign_in()  # signed in there since nobody knows when
    assert approve(gate, client) == 403
    now = int(gate.stage.clock.now().timestamp())
    gate.provider.lies = {"auth_time": now - int(STEP_UP_S) - 5}
    client, _ = gate.sign_in()
    assert approve(gate, client) == 403
    _, back = gate.sign_in("?fresh=1")  # and it must ask anew when it is told to
    assert back.status_code == 403
    assert "did not ask anew" in back.text
    gate.provider.lies = {}
    client, back = gate.sign_in("?fresh=1&page=/a/P-7")
    assert approve(gate, client) == 303


def test_a_provider_that_is_down_is_named_and_links_still_work(gate: Gate) -> None:
    config = OidcConfig(issuer="http://127.0.0.1:9", client_id=CLIENT)
    world = gate.stage
    ids = CountingIds()
    app = create_app(
        world.desk, world.clock, ids, public_url=URL, sign_on=Oidc(config, "", world.clock)
    )
    down = Stage(desk=world.desk, clock=world.clock, app=app)
    answer = down.stranger().get("/login/sign-on", headers={"host": HOST})
    assert answer.status_code == 503
    assert "links still work" in answer.text
    assert down.signed_in().get("/fleet").status_code == 200


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"issuer": "http://id.example"}, "https"),
        ({"client_id": ""}, "client_id"),
        ({"scopes": ("email",)}, "openid"),
        ({"roles": {"break-glass": ("all",)}}, "break-glass"),
        ({"roles": {"root": ("all",)}}, "root"),
    ],
)
def test_a_config_that_cannot_be_safe_is_refused(more: dict[str, Any], why: str) -> None:
    config = OidcConfig(**{"issuer": "https://id.example", "client_id": "w", **more})
    with pytest.raises(UsageError, match=why):
        Oidc(config, "", ManualClock())


def test_who_begins_many_logins_waits_and_pushes_nobody_out(gate: Gate) -> None:
    world, ids = gate.stage, CountingIds()
    config = OidcConfig(issuer=gate.provider.base, client_id=CLIENT)
    limits = Limits(departures=Rate(burst=2, per_s=0.1))
    provider = Oidc(config, SECRET, world.clock)
    app = create_app(world.desk, world.clock, ids, public_url=URL, sign_on=provider, limits=limits)
    client = Stage(desk=world.desk, clock=world.clock, app=app).stranger()
    codes = [client.get("/login/sign-on").status_code for _ in range(3)]
    assert codes == [303, 303, 429]
    assert client.get("/login/sign-on").headers["retry-after"] == "10"


def test_authlib_is_not_imported_before_somebody_signs_in_by_a_provider() -> None:
    code = (
        "import sys; import watchkeeper.app.serve, watchkeeper.app.console_config; "
        "from watchkeeper.adapters.oidc import Oidc, OidcConfig; "
        "from watchkeeper.adapters.system_clock import SystemClock; "
        "Oidc(OidcConfig(issuer='https://id.example', client_id='w'), '', SystemClock()); "
        "sys.exit(any(m.split('.')[0] in ('authlib', 'joserfc') for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
