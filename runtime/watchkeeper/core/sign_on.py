"""Who somebody is, as others say: a single sign-on, and tokens of programs.

Words and ports; met in adapters, asked by the console. Neither says who may answer a question: that
is the policy's word.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from watchkeeper.core.errors import Refused
from watchkeeper.core.word import Word

RESERVED = ("agent:", "person:", "token:")
"""How names begin that no provider and no file may give to a person."""


class SignOnFailed(Refused):
    """The provider did not vouch for anybody, or could not be asked; the text says why."""


class Identity(Word, frozen=True):
    """A person whom the provider vouches for. roles: those that its claims give, by the site's own
    table. proven_ago_s: how long ago it saw them type a password, or the like."""

    name: str
    roles: tuple[str, ...]
    proven_ago_s: float = 0.0


class Departure(Word, frozen=True):
    """What one login takes to the provider and must bring back. back: our address that the
    provider sends to. fresh: the person must prove anew who they are."""

    state: str
    nonce: str
    verifier: str
    back: str
    fresh: bool = False


class SignOn(Protocol):
    """One OpenID Connect provider."""

    @property
    def says(self) -> str:
        """What it is called, in a few words."""
        ...

    def address(self, departure: Departure) -> str:
        """Where to send the browser. Raises SignOnFailed."""
        ...

    def identity(self, departure: Departure, code: str) -> Identity:
        """Who came back with this code. Raises SignOnFailed; never lets in what it could not check
        to the end."""
        ...


class ApiToken(Word, frozen=True):
    """One token of a program, as kept: a hash and never the token. owner: the person it was made
    for; it lives no longer than their name in the policy, and holds no role that they do not."""

    id: str
    name: str
    owner: str
    roles: tuple[str, ...]
    hash: str
    made_at: datetime
    expires_at: datetime


class Tokens(Protocol):
    """The tokens that hold now."""

    def find(self, secret: str) -> ApiToken | None:
        """The token with this secret, unless it is over or revoked."""
        ...
