"""The calls behind `watchkeeper token`: make, list and revoke, each written down in the journal."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from watchkeeper.adapters.token_file import TokenFile
from watchkeeper.control.record import Record
from watchkeeper.core.desk import Desk
from watchkeeper.core.errors import UsageError
from watchkeeper.core.event import Kind
from watchkeeper.core.sign_on import ApiToken


def token_calls(desk: Desk, record: Record, tokens: TokenFile) -> dict[str, Callable[..., Any]]:
    """Name to function. The secret goes to who asked, and nowhere else."""

    def note(text: str, by: str) -> None:
        record.write(Kind.NOTE, text=text, by=f"person:{by}", durable=True)

    def create(name: str, roles: list[str], days: float, person: str) -> dict[str, Any]:
        owner = next((p for p in desk.people() if p.name == person), None)
        if owner is None:
            known = ", ".join(p.name for p in desk.people()) or "nobody"
            raise UsageError(
                f"{person!r} is not one of the policy's people ({known}). Say whose token it is "
                "with --as NAME."
            )
        missing = sorted(set(roles) - set(owner.roles))
        if missing:
            raise UsageError(f"{person} does not hold {', '.join(missing)}; a token has no more.")
        secret, token = tokens.create(name, person, tuple(roles), timedelta(days=days))
        until = f"{token.expires_at:%Y-%m-%d %H:%M} UTC"
        note(f"{person} made the token {name} ({', '.join(token.roles)}) until {until}.", person)
        return {"secret": secret, **_shown(token)}

    def revoke(which: str, person: str) -> dict[str, Any]:
        token = tokens.revoke(which)
        note(f"{person} revoked the token {token.name} of {token.owner}.", person)
        return _shown(token)

    return {
        "token_create": create,
        "token_revoke": revoke,
        "token_list": lambda: [_shown(token) for token in tokens.all()],
    }


def _shown(token: ApiToken) -> dict[str, Any]:
    """A token as people may see it: never its hash."""
    return {
        "id": token.id,
        "name": token.name,
        "owner": token.owner,
        "roles": list(token.roles),
        "made_at": token.made_at.isoformat(),
        "expires_at": token.expires_at.isoformat(),
    }
