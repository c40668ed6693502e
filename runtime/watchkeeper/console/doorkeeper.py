"""Who asks: cookie or bearer to a session, and the token that a change must carry.

Used as FastAPI dependencies. Reading and answering need a session; nothing here reads a page.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl

from fastapi import Request
from starlette.exceptions import HTTPException

from watchkeeper.console.guard import Place
from watchkeeper.console.sessions import Session, Sessions
from watchkeeper.core.desk import Desk, Person
from watchkeeper.core.errors import Malformed

MAX_FIELDS = 20
BY_ITSELF = "x-watchkeeper-live"
NO_SESSION = "Use a one-time link. `watchkeeper login` prints one for each person."
STALE_FORM = "This form is from an earlier session. Load the page again and answer there."


class SignInFirst(HTTPException):
    """No session; the console shows how to get one."""

    def __init__(self) -> None:
        super().__init__(401, NO_SESSION, {"www-authenticate": 'Bearer realm="watchkeeper"'})


@dataclass(frozen=True, slots=True)
class Doorkeeper:
    """Finds the session of a request, and the person as the policy knows them now."""

    desk: Desk
    sessions: Sessions
    place: Place

    def session(self, request: Request) -> Session:
        """Dependency: the live session. Raises SignInFirst. What an open page asks by itself does
        not count as use: only a person keeps a session alive."""
        by_itself = request.headers.get(BY_ITSELF) is not None
        found = self.sessions.find(self.secret(request), used=not by_itself)
        if found is None or not self._still_known(found):
            raise SignInFirst
        return found

    def may_change(self, request: Request) -> Session:
        """Dependency of API changes: a bearer, or a cookie and its X-CSRF-Token."""
        found = self.session(request)
        if _bearer(request):
            return found
        self.check_token(found, request.headers.get("x-csrf-token", ""))
        return found

    def check_token(self, session: Session, token: str) -> None:
        """Raises 403 unless the change carries the session's own token."""
        if not session.csrf_matches(token):
            raise HTTPException(403, STALE_FORM)

    def secret(self, request: Request) -> str:
        """The session id that a request carries; a bearer goes before a cookie."""
        return _bearer(request) or request.cookies.get(self.place.cookie, "")

    def _still_known(self, session: Session) -> bool:
        """Groups follow the policy in force. Who left the policy is signed out. With no policy
        at all the groups are gone, so that nothing can be approved and Stop still works."""
        people = {p.name: p for p in self.desk.people()}
        if people and session.person.name not in people:
            self.sessions.end(session)
            return False
        session.person = people.get(session.person.name, Person(name=session.person.name))
        return True


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
