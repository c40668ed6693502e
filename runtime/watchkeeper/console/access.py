"""Who may use which route: one table, asked before every route. A route that is not in it is shut.

A role opens the door only. What a person may do with the thing behind it is decided on the thing
itself, and `then` says how; docs/security.md has both, written from here by a test.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from watchkeeper.core.roles import Role

ANYBODY: tuple[Role, ...] = ()
VIEWER = (Role.VIEWER,)
OPERATOR = (Role.OPERATOR,)
APPROVER = (Role.APPROVER,)
AUTHOR = (Role.POLICY_AUTHOR,)
BREAKER = (Role.BREAK_GLASS,)
CREW = (Role.OPERATOR, Role.APPROVER, Role.POLICY_AUTHOR)
"""Everybody whose word changes something; not who only looks on."""


@dataclass(frozen=True, slots=True)
class Need:
    """What one route asks for. roles: one of these, or nothing for everybody, signed in or not.
    then: the rule on the thing itself."""

    roles: tuple[Role, ...]
    then: str = ""

    def met_by(self, held: tuple[str, ...]) -> bool:
        return not self.roles or bool(set(self.roles) & set(held))


def _reads(*paths: str) -> dict[tuple[str, str], Need]:
    return {("GET", path): Need(VIEWER) for path in paths}


_ANSWER = Need(
    APPROVER,
    "in a group that the question asks, and not who asked; to approve what stops work: signed in "
    "by a person within the last minutes, never by a token",
)
_DIAL = Need(VIEWER, "down: everybody; up: operator")

TABLE: Mapping[tuple[str, str], Need] = {
    # Before anybody is signed in.
    ("GET", "/login"): Need(ANYBODY),
    ("POST", "/login"): Need(ANYBODY, "a one-time link, unspent; tries are limited"),
    ("GET", "/login/sign-on"): Need(ANYBODY, "only where a provider is set"),
    ("GET", "/login/sign-on/back"): Need(ANYBODY, "state, nonce and the browser that began"),
    ("GET", "/healthz"): Need(ANYBODY),
    ("GET", "/metrics"): Need(ANYBODY, "from this host; from elsewhere: viewer"),
    # Pages.
    **_reads(
        "/",
        "/a/{proposal}",
        "/a/{proposal}/change",
        "/a/together",
        "/incidents",
        "/i/{incident}",
        "/i/{incident}/postmortem.md",
        "/i/{incident}/postmortem.html",
        "/fleet",
        "/nodes/{name}",
        "/nodes/{name}/gpus/{index}",
        "/forecast",
        "/policy",
        "/agents",
        "/break-glass",
        "/break-glass/{proposal}",
        "/more",
        "/chat",
        "/chat/{seq}",
        "/chat/{seq}/policy.yaml",
        "/journal",
        "/journal/verify",
        "/costs",
        "/report",
        "/report.md",
        "/events",
    ),
    # Forms.
    ("POST", "/logout"): Need(VIEWER, "one's own session"),
    ("POST", "/logout/everywhere"): Need(VIEWER, "one's own sessions"),
    ("POST", "/a/{proposal}/answer"): _ANSWER,
    ("POST", "/a/{proposal}/change"): Need(
        APPROVER,
        "less keeps its requester; anything else becomes one's own request, which another approves",
    ),
    ("POST", "/a/together"): Need(
        APPROVER, "one class and one incident, each as if answered alone; nothing that stops work"
    ),
    ("POST", "/break-glass/{proposal}/lift"): Need(
        BREAKER,
        "in the group break-glass, and not who asked; soft rules of what was shown; signed in by a "
        "person within the last minutes",
    ),
    ("POST", "/break-glass/{proposal}/review"): Need(
        (Role.OPERATOR, Role.APPROVER, Role.BREAK_GLASS), "not who lifted"
    ),
    ("GET", "/policy/try"): Need(AUTHOR),
    ("POST", "/policy/try"): Need(AUTHOR, "takes nothing up; one at a time"),
    ("POST", "/stop"): Need(VIEWER),
    ("POST", "/resume"): Need(OPERATOR),
    ("POST", "/autonomy"): _DIAL,
    ("POST", "/ask"): Need(VIEWER, "of orders only what narrows is done; the rest is a card"),
    ("POST", "/chat/{seq}/send"): Need(
        OPERATOR, "one's own card, within 15 minutes; policy judges it, and another person approves"
    ),
    ("POST", "/release"): Need(OPERATOR, "ends a hold before its time"),
    ("POST", "/report/judge"): Need(CREW, "as oneself"),
    # JSON.
    **_reads(
        "/api/v1/status",
        "/api/v1/board",
        "/api/v1/log",
        "/api/v1/incidents",
        "/api/v1/incidents/{incident}",
        "/api/v1/incidents/{incident}/postmortem",
        "/api/v1/approvals",
        "/api/v1/approvals/{proposal}",
        "/api/v1/nodes",
        "/api/v1/nodes/{name}",
        "/api/v1/fleet",
        "/api/v1/fleet/layout",
        "/api/v1/fleet/cells",
        "/api/v1/nodes/{name}/trace",
        "/api/v1/explain/{ident}",
        "/api/v1/journal",
        "/api/v1/report",
        "/api/v1/costs",
        "/api/v1/what-if",
        "/api/v1/capacity",
    ),
    ("POST", "/api/v1/approvals/{proposal}/answer"): _ANSWER,
    ("POST", "/api/v1/stop"): Need(VIEWER),
    ("POST", "/api/v1/resume"): Need(OPERATOR),
    ("POST", "/api/v1/autonomy"): _DIAL,
    # The interface's own description tells nothing of the fleet.
    ("GET", "/api/v1/openapi.json"): Need(ANYBODY),
}


def refusal(need: Need, held: tuple[str, ...]) -> str:
    """Why the door stays shut, for who stands before it."""
    wanted = " or ".join(need.roles)
    has = ", ".join(held) or "none"
    return (
        f"This needs the role {wanted}; yours: {has}. The policy's file of people says who holds "
        "which role."
    )
