"""Sign in by a provider: out with state, nonce and verifier, back with a code.

Both are GET, as the protocol has it. What was taken out is kept here, bounded, for ten minutes and
for one return, by the one browser that began.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response

from watchkeeper.console.doorkeeper import TooOften
from watchkeeper.console.guard import client_of
from watchkeeper.console.house import House
from watchkeeper.console.sessions import Session
from watchkeeper.core.clock import Clock
from watchkeeper.core.desk import Person
from watchkeeper.core.roles import in_order
from watchkeeper.core.sign_on import Departure, Identity, SignOn, SignOnFailed

BACK = "/login/sign-on/back"
AWAY_S = 600.0
MAX_AWAY = 512
SLACK_S = 60.0
Text = Annotated[str, Query(max_length=4000)]


@dataclass(frozen=True, slots=True)
class Away:
    """One login that has left. browser: hash of the cookie it left with; page: where it goes on;
    before: the session that ends with its return (the way back brings no Strict cookie)."""

    departure: Departure
    browser: str
    at: float
    page: str
    before: Session | None


class Travellers:
    """Who is at the provider now."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._away: OrderedDict[str, Away] = OrderedDict()

    def left(self, departure: Departure, browser: str, page: str, before: Session | None) -> None:
        away = Away(departure, _hash(browser), self._clock.steady(), page, before)
        with self._lock:
            self._away[departure.state] = away
            while len(self._away) > MAX_AWAY:
                self._away.popitem(last=False)

    def returned(self, state: str, browser: str) -> Away | None:
        """The login with this state, once, if this browser began it and not too long ago."""
        with self._lock:
            away = self._away.pop(state, None)
        if away is None or self._clock.steady() - away.at > AWAY_S:
            return None
        return away if hmac.compare_digest(away.browser, _hash(browser)) else None


def sign_on_routes(house: House) -> APIRouter:
    """GET out, GET back."""
    routes = APIRouter(include_in_schema=False)
    travellers = Travellers(house.clock)
    place = house.place
    cookie = "__Host-watchkeeper-sign-on" if place.https else f"watchkeeper-sign-on-{place.port}"

    @routes.get("/login/sign-on")
    def out(request: Request, page: Text = "/", fresh: bool = False) -> Response:
        provider, client = _provider(house), client_of(request)
        _not_too_often(house, client)
        if wait := house.departures.wait_s(client):
            raise TooOften("this address", wait)
        browser = house.sessions.unguessed()
        departure = Departure(
            state=house.sessions.unguessed(),
            nonce=house.sessions.unguessed(),
            verifier=house.sessions.unguessed() + house.sessions.unguessed(),
            back=f"{place.public_url}{BACK}",
            fresh=fresh,
        )
        try:
            answer = RedirectResponse(provider.address(departure), 303)
        except SignOnFailed as err:
            raise HTTPException(503, str(err)) from err
        before = house.sessions.find(request.cookies.get(place.cookie, ""), used=False)
        travellers.left(departure, browser, _ours(page), before)
        # Lax: the way back begins at the provider's site.
        answer.set_cookie(
            cookie, browser, max_age=int(AWAY_S), httponly=True, samesite="lax",
            secure=place.https, path="/",
        )  # fmt: skip
        return answer

    @routes.get(BACK)
    def back(request: Request, state: Text = "", code: Text = "", error: Text = "") -> Response:
        provider, client = _provider(house), client_of(request)
        _not_too_often(house, client)
        away = travellers.returned(state, request.cookies.get(cookie, ""))
        if away is None:
            house.gate.failed(client)
            raise HTTPException(403, "This login was not begun here, or too long ago. Try again.")
        if error or not code:
            raise HTTPException(403, f"{provider.says} did not sign you in: {error[:80] or '-'}.")
        try:
            person, found = _known(house, provider, away, code)
        except SignOnFailed as err:
            house.gate.failed(client)
            raise HTTPException(403, str(err)) from err
        if away.before is not None:
            house.sessions.end(away.before)
        secret, _ = house.sessions.begin(
            person,
            replaces=request.cookies.get(place.cookie, ""),
            door="sign-on",
            claimed=found.roles,
            proven_ago_s=found.proven_ago_s,
        )
        # A page and not a redirect: a chain that began elsewhere would not bring the Strict cookie.
        answer = HTMLResponse(
            house.bare("signed_on.html", "login", "Signed in", name=person.name, on=away.page)
        )
        house.give_cookie(answer, secret)
        answer.delete_cookie(cookie, path="/", httponly=True, samesite="lax", secure=place.https)
        return answer

    return routes


def _not_too_often(house: House, client: str) -> None:
    if wait := house.gate.wait_s(client):
        raise TooOften("this address", math.ceil(wait))


def _provider(house: House) -> SignOn:
    if house.sign_on is None:
        raise HTTPException(404, "No provider is set here. Use a one-time link.")
    return house.sign_on


def _known(house: House, provider: SignOn, away: Away, code: str) -> tuple[Person, Identity]:
    """Who came back, with the roles they hold here. Raises SignOnFailed."""
    found = provider.identity(away.departure, code)
    gone = house.clock.steady() - away.at
    if away.departure.fresh and found.proven_ago_s > gone + SLACK_S:
        raise SignOnFailed(f"{provider.says} did not ask anew who you are.")
    named = next((p for p in house.desk.people() if p.name == found.name), Person(name=found.name))
    roles = in_order({*named.roles, *found.roles})
    if not roles:
        raise SignOnFailed(
            f"{found.name} holds no role here: neither the policy's file of people nor a group of "
            f"{provider.says} gives one."
        )
    return Person(name=found.name, groups=named.groups, roles=roles), found


def _ours(page: str) -> str:
    """A page of ours: one slash, then no second one and nothing that a browser takes for it."""
    plain = page.isascii() and page.isprintable() and "\\" not in page
    return page if plain and page.startswith("/") and not page.startswith("//") else "/"


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
