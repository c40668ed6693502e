"""A soft freeze that refuses a repair in the lab, and what break-glass makes of it: plain words."""

from __future__ import annotations

from datetime import datetime, timedelta

from tests.browser.lab_morning import SICK

from watchkeeper.core.desk import Person
from watchkeeper.core.verdict import Decision, Reason
from watchkeeper.core.views import Liftable, LiftView, TriedOrders
from watchkeeper.core.word import digest

FREEZE = Reason(
    kind="rule",
    id="year-end-freeze",
    says=Decision.DENY,
    text="Nothing moves before the books are closed.",
    where="policies/freeze.yaml:9",
)
ALLOWS = Reason(
    kind="rule",
    id="night-repairs",
    says=Decision.ALLOW,
    text="By night a node with two witnesses is repaired.",
    where="policies/night.yaml:23",
)


def liftable(at: datetime) -> Liftable:
    """The repair of train-02 with GPUs idle meanwhile, refused three minutes ago."""
    return Liftable(
        proposal="P-5",
        title=f"Cordon, drain and restart {SICK}?",
        why=f"GPU 3 of {SICK} has fallen off the bus (XID 79). Kernel log and driver agree.",
        if_ignored=f"llm-pretrain stays stopped. 8 GPUs of {SICK} stay idle.",
        by="agent:remediation",
        incident="INC-2",
        steps=(f"Cordon {SICK}", f"Drain {SICK} within 60 s", f"Restart {SICK}"),
        blast="1 node, up to 8 GPUs, up to 1 job. Makes 1 of 4 nodes out in train.",
        asks=False,
        soft=(FREEZE,),
        others=(ALLOWS,),
        until=at + timedelta(minutes=12),
        digest=digest(["P-5", FREEZE]),
    )


def lifted(one: Liftable, person: Person, reason: str, at: datetime) -> LiftView:
    """As the record has it from then on."""
    return LiftView(
        proposal=one.proposal,
        title=one.title,
        incident=one.incident,
        rules=tuple(r.id for r in one.soft),
        person=person.name,
        before=(),
        reason=reason,
        at=at,
        review_by=at + timedelta(hours=24),
        state="cleared",
    )


ORDERS = {
    "policies/freeze.yaml": "apiVersion: watchkeeper/v1\nkind: Policy\nmetadata: {name: freeze}\n"
    "rules:\n  - id: year-end-freeze\n    effect: deny\n    enforcement: soft\n"
    "    actions: [node.cordon, node.drain]\n"
}


def tried(file: str, text: str) -> TriedOrders:
    """What trying says in the lab: a file with rules is sound and narrows; others do not load."""
    if "rules:" not in text:
        return TriedOrders(
            file=file, new=True, sound=False, check=f"{file}:1:1: there are no rules in it"
        )
    return TriedOrders(
        file=file,
        new=file not in ORDERS,
        sound=True,
        check="Sound: 5 rules, 2 windows.",
        tests=14,
        passed=14,
        judged=212,
        replayed=208,
        unchanged=203,
        narrowed=5,
        told="208 of 212 decisions of the last 30 days were replayed.\n\n"
        "Now denied: 5\n  event 1204, P-31, node.drain: allow -> deny",
        period="30 days",
    )
