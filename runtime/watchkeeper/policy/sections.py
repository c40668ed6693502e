"""What the readers of a policy's sections share: the files as read, and lists of actions."""

from __future__ import annotations

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
