"""What the readers of a policy's sections share: the files as read, and lists of actions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from watchkeeper.core.action import KINDS, TRAITS
from watchkeeper.policy.reader import At, Reader

Documents: TypeAlias = list[tuple[Reader, At]]
"""Every file that could be read, with its top-level record."""

CHANGING = tuple(kind for kind in KINDS if TRAITS[kind].changes)
"""What `"*"` stands for: every kind of action that changes the cluster."""


def kinds_of(spec: At) -> frozenset[str]:
    """The kinds that a list of actions stands for."""
    kinds: set[str] = set()
    for item in spec.each("actions"):
        if item.value == "*":
            kinds.update(CHANGING)
        elif item.value.endswith(".*"):
            kinds.update(k for k in CHANGING if k.startswith(item.value[:-1]))
        else:
            kinds.add(item.value)
    return frozenset(kinds)


def told_once(documents: Documents, section: str, what: str) -> Iterator[tuple[Reader, str, At]]:
    """(reader, name, what is said) of each name in a section of names, over all files. A name that
    comes again is a mistake that names the first place. what: `the floor of`, for people."""
    places: dict[str, str] = {}
    for reader, top in documents:
        for name, spec in top.of(section, {}).items():
            if name in places:
                said = f"{what} {name!r} is told twice; first at {places[name]}"
                reader.problem(spec.mark, said, name)
                continue
            places[name] = f"{reader.file}:{spec.mark.line}"
            yield reader, name, spec
