"""The morning report and postmortems: their page, their files, and the useful/wrong buttons."""

from datetime import datetime
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response

from watchkeeper.console.doorkeeper import form_fields
from watchkeeper.console.house import House
from watchkeeper.console.report_text import as_markdown, postmortem_html, postmortem_markdown
from watchkeeper.console.report_view import anchor
from watchkeeper.console.schema import said
from watchkeeper.console.sessions import Session
from watchkeeper.console.trouble import json_word
from watchkeeper.core.errors import Malformed, Refused, UsageError
from watchkeeper.core.report import Postmortem, Report
from watchkeeper.core.since import since as since_of

Fields = Annotated[dict[str, str], Depends(form_fields)]
Since = Annotated[str, Query(max_length=60, description="12h, 2d, or a moment")]
SPANS = (("Last evening", ""), ("12 h", "12h"), ("3 days", "3d"), ("7 days", "7d"))
MARKDOWN = "text/markdown; charset=utf-8"
HTML = "text/html; charset=utf-8"


def report_pages(house: House) -> APIRouter:
    """Page, files and form, for people."""
    routes = APIRouter(include_in_schema=False)
    SignedIn = Annotated[Session, Depends(house.doorkeeper.session)]  # noqa: N806

    def checked(session: SignedIn, fields: Fields) -> Session:
        house.doorkeeper.check_token(session, fields.get("csrf", ""))
        return session

    def drawn(session: Session, told: Report, asked: str, refused: str = "") -> HTMLResponse:
        return house.page(
            "report.html",
            "report",
            "Morning report",
            session,
            409 if refused else 200,
            report=told,
            judged=house.desk.judged(session.person),
            asked=asked,
            spans=SPANS,
            refused=refused,
        )

    @routes.get("/report")
    def page(session: SignedIn, since: Since = "") -> HTMLResponse:
        return drawn(session, _report(house, since), since)

    @routes.get("/report.md")
    def markdown(session: SignedIn, since: Since = "") -> Response:  # noqa: ARG001 (signed in)
        return Response(as_markdown(_report(house, since)), media_type=MARKDOWN)

    @routes.get("/i/{incident}/postmortem.md")
    def postmortem_md(session: SignedIn, incident: str) -> Response:  # noqa: ARG001
        found = _postmortem(house, incident)
        return _as_file(postmortem_markdown(found), found, "md", MARKDOWN)

    @routes.get("/i/{incident}/postmortem.html")
    def postmortem_page(session: SignedIn, incident: str) -> Response:  # noqa: ARG001
        found = _postmortem(house, incident)
        return _as_file(postmortem_html(found), found, "html", HTML)

    @routes.post("/report/judge")
    def judge(session: Annotated[Session, Depends(checked)], fields: Fields) -> Response:
        key, asked = fields.get("item", "")[:300], fields.get("asked", "")[:60]
        said_word = fields.get("said", "")
        if said_word not in ("useful", "wrong"):
            raise Malformed("said must be useful or wrong.")
        try:
            house.desk.judge(
                key,
                fields.get("digest", ""),
                session.person,
                useful=said_word == "useful",
                since=_moment(fields, "since"),
                until=_moment(fields, "until"),
                note=fields.get("note", ""),
            )
        except Refused as err:
            return drawn(session, _report(house, asked), asked, str(err))
        except UsageError as err:
            raise Malformed(str(err)) from err
        query = f"?since={quote(asked, safe='')}" if asked else ""
        return RedirectResponse(f"/report{query}#{anchor(key)}", 303)

    return routes


def report_reads(house: House) -> APIRouter:
    """The same for programs."""
    signed_in = Depends(house.doorkeeper.session)  # on the router: no route can forget it
    routes = APIRouter(prefix="/api/v1", tags=["read"], dependencies=[signed_in])

    @routes.get("/report", summary="What it saw, did and did not do", **said(Report))
    def report(since: Since = "") -> Response:
        """`since`: 12h, 2d or a moment; without, yesterday at 18:00 in the policy's zone."""
        return json_word(_report(house, since))

    @routes.get(
        "/incidents/{incident}/postmortem", summary="One incident's timeline", **said(Postmortem)
    )
    def postmortem(incident: str) -> Response:
        return json_word(_postmortem(house, incident))

    return routes


def _report(house: House, since: str) -> Report:
    try:
        return house.desk.report(since_of(since) if since else None)
    except UsageError as err:
        raise Malformed(str(err)) from err


def _postmortem(house: House, incident: str) -> Postmortem:
    found = house.desk.postmortem(incident)
    if found is None:
        raise HTTPException(404, f"There is no incident {incident[:60]}.")
    return found


def _as_file(text: str, found: Postmortem, end: str, media: str) -> Response:
    """As a file to keep. The name holds only what an id of ours holds."""
    name = "".join(c for c in found.incident.id if c.isascii() and (c.isalnum() or c == "-"))[:60]
    disposition = f'attachment; filename="postmortem-{name}.{end}"'
    return Response(text, media_type=media, headers={"content-disposition": disposition})


def _moment(fields: dict[str, str], name: str) -> datetime:
    try:
        at = datetime.fromisoformat(fields.get(name, ""))
    except ValueError as err:
        raise Malformed(f"{name} must be a time.") from err
    if at.tzinfo is None:
        raise Malformed(f"{name} must be a time with its zone.")
    return at
