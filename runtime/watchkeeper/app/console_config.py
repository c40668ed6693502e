"""`up --console FILE`: where the console is reached, how long sessions last, and single sign-on."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from watchkeeper.adapters.oidc import Oidc, OidcConfig
from watchkeeper.core.errors import UsageError
from watchkeeper.core.word import Word

if TYPE_CHECKING:
    from watchkeeper.console.sessions import Spans
    from watchkeeper.core.clock import Clock

SECRET = "WATCHKEEPER_OIDC_SECRET"  # noqa: S105 (the name of a variable)


class SessionConfig(Word, frozen=True):
    """How long a session lasts: unused, in all, and as proof for what stops work."""

    idle_minutes: float = 30
    absolute_hours: float = 12
    step_up_minutes: float = 15

    def wrong(self) -> str:
        if not 1 <= self.idle_minutes <= 24 * 60:
            return "idle_minutes must be between 1 and 1440."
        if not 0.1 <= self.absolute_hours <= 7 * 24:
            return "absolute_hours must be between 0.1 and 168."
        if not 1 <= self.step_up_minutes <= 24 * 60:
            return "step_up_minutes must be between 1 and 1440."
        return ""


class ConsoleConfig(Word, frozen=True):
    """The whole file. public_url: as people type it; with https cookies are Secure."""

    public_url: str = ""
    sessions: SessionConfig = SessionConfig()
    oidc: OidcConfig | None = None

    def spans(self) -> Spans:
        from watchkeeper.console.sessions import Spans

        told = self.sessions
        return Spans(
            idle_s=told.idle_minutes * 60,
            absolute_s=told.absolute_hours * 3600,
            step_up_s=told.step_up_minutes * 60,
        )

    def sign_on(self, clock: Clock) -> Oidc | None:
        """The provider, not yet asked. Raises UsageError."""
        if self.oidc is None:
            return None
        return Oidc(self.oidc, _secret(self.oidc.client_secret_file), clock)


def read_console(path: str) -> ConsoleConfig:
    """The file, checked; without one, the defaults. Raises UsageError, saying what and where."""
    if not path:
        return ConsoleConfig()
    try:
        config = msgspec.convert(tomllib.loads(Path(path).read_text()), ConsoleConfig)
    except OSError as err:
        raise UsageError(f"{path} cannot be read: {err.strerror}.") from err
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as err:
        raise UsageError(f"{path} is not a valid console file: {err}.") from err
    wrong = config.sessions.wrong() or _wrong_url(config.public_url)
    if config.oidc:
        wrong = wrong or config.oidc.wrong()
        if not config.public_url:
            wrong = wrong or "[oidc] needs public_url: the provider sends people back there."
        _secret(config.oidc.client_secret_file)
    if wrong:
        raise UsageError(f"{path}: {wrong}")
    return config


def _wrong_url(url: str) -> str:
    parts = urlsplit(url)
    here = parts.hostname in ("127.0.0.1", "localhost", "::1")
    if not url or (parts.hostname and parts.scheme == "https") or (here and parts.scheme == "http"):
        return "public_url must be a host alone, without a path." if parts.path.strip("/") else ""
    return f"public_url must be https:// (a session must not travel open), not {url!r}."


def _secret(path: str) -> str:
    """From the file, else from the environment, else none (a public client, with PKCE alone)."""
    if not path:
        return os.environ.get(SECRET, "")
    try:
        return Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as err:
        raise UsageError(f"The client's secret cannot be read from {path}: {err}.") from err
