"""Which groups hold which role at the console, from a file of people. Read with the rules, because
a group that a rule asks must be let in to answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from watchkeeper.core.roles import BINDABLE, Role
from watchkeeper.policy.model import Rule
from watchkeeper.policy.reader import At, Reader

Documents = list[tuple[Reader, At]]


def roles_in(
    documents: Documents, people: Mapping[str, tuple[str, ...]], rules: Iterable[Rule]
) -> dict[str, tuple[str, ...]]:
    """Role -> groups; empty where nothing is written. Reports unknown groups, a second `roles`, and
    a group that a rule asks and that could not answer."""
    found: dict[str, tuple[str, ...]] = {}
    for reader, top in documents:
        written = top.get("roles")
        if written is None:
            continue
        if found:
            reader.problem(written.mark, "`roles` is written twice; keep one", "roles")
            continue
        for role in BINDABLE:
            groups = written.each(role)
            for group in groups:
                if group.value not in people:
                    said = f"no group is called {group.value!r}"
                    reader.unknown(group.mark, said, group.value, people)
            found[role] = tuple(dict.fromkeys(group.value for group in groups))
        asked = {g for r in rules for g in (*r.approvals.groups, *r.approvals.escalate_to)}
        for name in sorted(asked - set(found[Role.APPROVER])):
            said = f"rules ask the group {name!r}, and `approver` does not name it: nobody of it"
            reader.problem(written.mark, f"{said} could answer", name)
    return found
