"""What every word of the product is made of: a frozen record that refuses unknown fields.

One encoding serves journal, Redis, HTTP and approval digests, so a word has one written form.
"""

import hashlib
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from watchkeeper.core.errors import Malformed

W = TypeVar("W")


class Word(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A record of the core vocabulary. Immutable; compared by value; unknown fields are refused."""


def canonical(word: object) -> bytes:
    """The one byte form of a word: JSON, keys sorted, no spaces. Digests are taken of this."""
    return msgspec.json.encode(word, order="sorted")


def digest(word: object) -> str:
    """SHA-256 of the canonical form, as 64 hex digits."""
    return hashlib.sha256(canonical(word)).hexdigest()


def plain(word: object) -> Any:
    """A word as dicts, lists and scalars, ready for a journal event or a template."""
    return msgspec.to_builtins(word)


def parse(data: bytes | str | dict[str, Any], kind: type[W], what: str = "input") -> W:
    """Turn text (or plain dicts) into a word, strictly.

    Raises Malformed, naming `what` and the offending path, when a field is unknown, missing or
    of the wrong type.
    """
    try:
        if isinstance(data, dict):
            return msgspec.convert(data, kind)
        return msgspec.json.decode(data, type=kind)
    except (ValueError, RecursionError) as err:  # msgspec's own, bad UTF-8, absurd nesting
        raise Malformed(f"{what} is not a valid {getattr(kind, '__name__', kind)}: {err}") from err


def utc(seconds: float) -> datetime:
    """Seconds since the Unix epoch as an aware UTC time."""
    return datetime.fromtimestamp(seconds, UTC)
