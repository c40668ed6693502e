"""API tokens of programs: a 0600 file with a hash of each, read at start, written whole.

The only place where they are made, found and revoked. A token is shown once, by `create`; nobody
can read it here again.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import re
import tempfile
import threading
from datetime import timedelta
from pathlib import Path

import msgspec

from watchkeeper.core.clock import Clock, Ids
from watchkeeper.core.errors import JournalBroken, UsageError
from watchkeeper.core.roles import Role, in_order
from watchkeeper.core.sign_on import ApiToken
from watchkeeper.core.word import canonical

MARK = "wk"
SCOPES = (Role.VIEWER, Role.POLICY_AUTHOR)
"""What a token may be scoped to. Not operator, who clears a stop (S4), not approver and not
break-glass (S15): these are a person's."""

LONGEST = timedelta(days=366)
MOST = 256
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


class TokenFile:
    """Meets `core.sign_on.Tokens`. One watch holds the file."""

    def __init__(self, path: Path, clock: Clock, ids: Ids) -> None:
        """Raises JournalBroken when the file is there and cannot be read: to go on without it
        would forget what was revoked and whose they are."""
        self._path = path
        self._clock = clock
        self._ids = ids
        self._lock = threading.Lock()
        self._tokens: dict[str, ApiToken] = {}
        if path.exists():
            try:
                kept = msgspec.json.decode(path.read_bytes(), type=list[ApiToken])
            except (OSError, msgspec.MsgspecError) as err:
                raise JournalBroken(
                    f"The tokens in {path} cannot be read: {err}. Restore the file, or move it "
                    "aside and make new tokens."
                ) from err
            self._tokens = {token.id: token for token in kept}

    def create(
        self, name: str, owner: str, roles: tuple[str, ...], lasts: timedelta
    ) -> tuple[str, ApiToken]:
        """A new token and what is kept of it, durably. Raises UsageError."""
        wrong = self._wrong(name, roles, lasts)
        if wrong:
            raise UsageError(wrong)
        now = self._clock.now()
        with self._lock:
            live = {i: t for i, t in self._tokens.items() if t.expires_at > now}
            if any(t.name == name for t in live.values()):
                raise UsageError(f"There is a token {name} already; revoke it first.")
            if len(live) >= MOST:
                raise UsageError(f"There are {MOST} tokens already; revoke some.")
            ident = hashlib.sha256(self._ids.secret().encode()).hexdigest()[:8]
            secret = f"{MARK}_{ident}_{self._ids.secret()}"
            token = ApiToken(
                id=ident,
                name=name,
                owner=owner,
                roles=in_order(roles),
                hash=_hash(secret),
                made_at=now,
                expires_at=now + lasts,
            )
            self._keep({**live, ident: token})
        return secret, token

    def revoke(self, which: str) -> ApiToken:
        """End the token of this name or id, at once. Raises UsageError when there is none."""
        with self._lock:
            found = next((t for t in self._tokens.values() if which in (t.id, t.name)), None)
            if found is None:
                raise UsageError(f"There is no token {which}. `watchkeeper token list` has all.")
            self._keep({i: t for i, t in self._tokens.items() if i != found.id})
        return found

    def all(self) -> tuple[ApiToken, ...]:
        """Those that hold, the oldest first."""
        now = self._clock.now()
        with self._lock:
            return tuple(t for t in self._tokens.values() if t.expires_at > now)

    def find(self, secret: str) -> ApiToken | None:
        """See `core.sign_on.Tokens.find`."""
        ident = secret.split("_", 2)[1] if secret.count("_") >= 2 else ""
        with self._lock:
            token = self._tokens.get(ident)
        if token is None or not hmac.compare_digest(token.hash, _hash(secret)):
            return None
        return token if token.expires_at > self._clock.now() else None

    def _wrong(self, name: str, roles: tuple[str, ...], lasts: timedelta) -> str:
        if not _NAME.fullmatch(name):
            return f"{name!r} is no name for a token: letters, digits, dot, dash, underscore."
        if not roles or not set(roles) <= set(SCOPES):
            return (
                f"A token is for {', '.join(SCOPES)}, not for {', '.join(roles) or 'nothing'}: "
                "to resume, to answer and to break the glass is a person's."
            )
        if not timedelta(0) < lasts <= LONGEST:
            return f"A token lasts longer than nothing and at most {LONGEST.days} days."
        return ""

    def _keep(self, tokens: dict[str, ApiToken]) -> None:
        """Write all of them and only then believe it: a crash leaves the old file or the new."""
        lines = b",\n".join(canonical(t) for t in tokens.values())
        try:
            handle, partial = tempfile.mkstemp(dir=self._path.parent, prefix=".tokens-")
            try:
                with os.fdopen(handle, "wb") as out:  # mkstemp makes it 0600
                    out.write(b"[" + lines + b"]\n")
                    out.flush()
                    os.fsync(out.fileno())
                Path(partial).replace(self._path)
            except OSError:
                with contextlib.suppress(OSError):
                    Path(partial).unlink()
                raise
        except OSError as err:
            raise JournalBroken(
                f"The tokens cannot be written to {self._path}: {err.strerror}. Nothing changed."
            ) from err
        self._tokens = tokens


def _hash(secret: str) -> str:
    """One round is enough: what is hashed is 192 random bits, not the word of a person."""
    return hashlib.sha256(secret.encode()).hexdigest()
