"""Small turns of phrase that the report's items share. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

NAMED = 3
SEQS_KEPT = 8


def sentence(text: str) -> str:
    """With a capital at its head and one full stop at its end; "" stays "". What begins with a
    name of the cluster keeps it as it is written."""
    return first_up(closed(text))


def closed(text: str) -> str:
    """As it is written, with one full stop at its end: after a colon, or where it begins with a
    person's name. A question keeps its mark."""
    told = text.strip().rstrip(".")
    return told if told.endswith("?") or not told else f"{told}."


def without(text: str, head: str) -> str:
    """The text without this head, which stands elsewhere already."""
    return text.removeprefix(head).lstrip(". ") if head else text


def first_up(text: str) -> str:
    """A capital at its head, unless its first word is a name (it has a digit, a dash or a dot)."""
    word = text.split(" ", 1)[0].rstrip(":,;.")
    is_name = any(c.isdigit() or c in "-_./" for c in word)
    return text if is_name else text[:1].upper() + text[1:]


def names(found: Iterable[str], most: int = NAMED) -> str:
    """`a`, `a and b`, or `a, b, c and 11 more`."""
    every = list(found)
    shown, rest = every[:most], len(every) - most
    if rest > 0:
        return f"{', '.join(shown)} and {rest} more"
    return " and ".join((", ".join(shown[:-1]), shown[-1])) if len(shown) > 1 else "".join(shown)


def count(number: int, one: str, many: str = "") -> str:
    """`no page`, `1 page`, `2 pages`."""
    if number == 0:
        return f"no {many or one + 's'}"
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def times(number: int) -> str:
    return {1: "once", 2: "twice"}.get(number, f"{number:,} times")


def hours(gpu_hours: float) -> str:
    return f"{gpu_hours:,.1f} GPU-hours"


def few(seqs: Sequence[int]) -> tuple[int, ...]:
    """The first few lines of the journal that something rests on, in order."""
    return tuple(sorted(seqs)[:SEQS_KEPT])


def went_badly(kind: str, result: str) -> bool:
    """An effect of this kind of action that ended so. A check that finds a fault has done its
    work; anything else that failed has not."""
    return result in ("worse", "in_doubt") or (result == "failed" and kind != "check.run")
