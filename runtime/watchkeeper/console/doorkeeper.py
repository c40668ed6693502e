"""Who asks, and which doors are open to them: cookie or bearer to a session, the person's roles as
the policy has them now, and the token that a change must carry.

`gate` stands before every route and asks the table in `access`; the rest are FastAPI dependencies.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from watchkeeper.console.access import TABLE, refusal
from watchkeeper.console.guard import UNSAFE, Place
from watchkeeper.console.rates import Buckets
from watchkeeper.console.sessions import Session, Sessions
from watchkeeper.core.desk import Desk, Person
from watchkeeper.core.errors import Malformed
from watchkeeper.core.roles import Role, in_order
from watchkeeper.core.sign_on import ApiToken, Tokens

MAX_FIELDS = 20
BY_ITSELF = "x-watchkeeper-live"
NO_SESSION = "Use a one-time link. `watchkeeper login` prints one for each person."
STALE_FORM = "This form is from an earlier session. Load the page again and answer there."
TOKEN_MARK = "wk_"  # noqa: S105 (how tokens begin, so that scanners for secrets find them)


class SignInFirst(HTTPException):
    """No session; the console shows how to get one."""

    def __init__(self) -> None:
        super().__init__(401, NO_SESSION, {"www-authenticate": 'Bearer realm="watchkeeper"'})


class TooOften(HTTPException):
    """More requests than one person or address may make."""

    def __init__(self, who: str, wait_s: int) -> None:
        super().__init__(
            429, f"Too many requests from {who}. Wait {wait_s} s.", {"retry-after": str(wait_s)}
        )


@dataclass(frozen=True, slots=True)
class Doorkeeper:
    """Finds the session of a request, and the person as the policy knows them now."""

    desk: Desk
    sessions: Sessions
    place: Place
    reads: Buckets
    changes: Buckets
    tokens: Tokens | None = None

    async def gate(self, request: Request) -> None:
        """Before every route: is this door open to who asks? Raises SignInFirst, 403 or 429. A
        route that the table does not name is shut for everybody.

        For a cookie all of it is a look into memory, so it is done at once: a thread for it costs
        more than the look. A bearer waits on the tokens, which may be being written."""
        if _bearer(request):
            await run_in_threadpool(self._check, request)
        else:
            self._check(request)

    def _check(self, request: Request) -> None:
        path = getattr(request.scope.get("route"), "path", "")
        need = TABLE.get((request.method, path))
        if need is None:
            raise HTTPException(403, "This door has no entry in the table of roles; it is shut.")
        if not need.roles:
            return
        session = self.find(request)
        if not need.met_by(session.person.roles):
            raise HTTPException(403, refusal(need, session.person.roles))
        buckets = self.changes if request.method in UNSAFE else self.reads
        if wait := buckets.wait_s(session.person.name):
            raise TooOften(session.person.name, wait)

    async def session(self, request: Request) -> Session:
        """Dependency: the live session, which the gate has found. Raises SignInFirst."""
        return self.find(request)

    def find(self, request: Request) -> Session:
        """The live session of a request. Raises SignInFirst. What an open page asks by itself does
        not count as use: only a person keeps a session alive."""
        known = getattr(request.state, "session", None)
        if isinstance(known, Session):
            return known
        secret = self.secret(request)
        if secret.startswith(TOKEN_MARK):
            found = self._of_token(secret)
        else:
            by_itself = request.headers.get(BY_ITSELF) is not None
            found = self.sessions.find(secret, used=not by_itself)
        if found is None or not self.still_known(found):
            raise SignInFirst
        request.state.session = found
        return found

    def may_read_metrics(self, request: Request) -> None:
        """From elsewhere than this host counters are for viewers. Raises SignInFirst."""
        self.find(request)

    async def may_change(self, request: Request) -> Session:
        """Dependency of API changes: a bearer, or a cookie and its X-CSRF-Token."""
        found = self.find(request)
        if _bearer(request):
            return found
        self.check_token(found, request.headers.get("x-csrf-token", ""))
        return found

    def check_token(self, session: Session, token: str) -> None:
        """Raises 403 unless the change carries the session's own token."""
        if not session.csrf_matches(token):
            raise HTTPException(403, STALE_FORM)

    def secret(self, request: Request) -> str:
        """The session id, or token, that a request carries; a bearer goes before a cookie."""
        return _bearer(request) or request.cookies.get(self.place.cookie, "")

    def live(self, session: Session) -> bool:
        """May an open stream of this session go on? Looking does not count as use."""
        if session.door == "token":
            return self.still_known(session)
        return self.sessions.alive(session) and self.still_known(session)

    def still_known(self, session: Session) -> bool:
        """Groups and roles follow the policy in force, at each request and each look of a stream.
        Who holds no role any more is signed out. With no policy at all the groups are gone, so that
        nothing can be approved; reading and Stop still work."""
        people = {p.name: p for p in self.desk.people()}
        person = self._as_token(session, people) or self._as_person(session, people)
        if not person.roles:
            self.sessions.end(session)
            return False
        session.person = person
        return True

    def _as_person(self, session: Session, people: dict[str, Person]) -> Person:
        name = session.person.name
        known = people.get(name, Person(name=name))
        if not people:
            return Person(name=name, roles=(Role.VIEWER.value,))
        return Person(
            name=name, groups=known.groups, roles=in_order({*known.roles, *session.claimed})
        )

    def _as_token(self, session: Session, people: dict[str, Person]) -> Person | None:
        """A token holds what it was scoped to, as far as its owner holds it; None: it is none."""
        if session.door != "token":
            return None
        token = self.tokens.find(session.key) if self.tokens else None
        if token is None:
            return Person(name=session.person.name)
        owner = people.get(token.owner)
        held = owner.roles if owner else () if people else (Role.VIEWER.value,)
        return Person(name=session.person.name, roles=in_order({*held} & {*token.roles}))

    def _of_token(self, secret: str) -> Session | None:
        token: ApiToken | None = self.tokens.find(secret) if self.tokens else None
        if token is None:
            return None
        now = self.sessions.now()
        # Its csrf is a secret that nobody was told: a token answers no form.
        csrf = self.sessions.unguessed()
        person = Person(name=f"token:{token.name}")
        return Session(secret, person, csrf, now, now, proven=None, door="token")


async def form_fields(request: Request) -> dict[str, str]:
    """Dependency: the fields of a plain form. Raises Malformed for anything else."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise Malformed("A form must be sent as application/x-www-form-urlencoded.")
    try:
        text = (await request.body()).decode("ascii")
        pairs = parse_qsl(
            text,
            keep_blank_values=True,
            encoding="utf-8",
            errors="strict",
            max_num_fields=MAX_FIELDS,
        )
    except ValueError as err:
        raise Malformed("The form is not readable text, or has too many fields.") from err
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise Malformed("A field of the form was given twice.")
    return fields


def _bearer(request: Request) -> str:
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else ""
