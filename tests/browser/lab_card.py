"""A card of the chat as the real desk draws one where policy asks another person."""

from datetime import datetime

from watchkeeper.core.action import NodeCordon
from watchkeeper.core.chat import Card, CardStep, Ordered
from watchkeeper.core.desk import Person
from watchkeeper.core.verdict import Decision

WHERE = "policies/night.yaml:23"


def asking_card(order: Ordered, person: Person, at: datetime) -> Card:
    steps = tuple(
        CardStep(
            says=f"{order.kind.partition('.')[2].capitalize()} {name}",
            action=NodeCordon(node=name, incarnation="a1"),
            blast="1 node, 8 GPUs.",
            undo="Undone by: uncordon.",
            verdict=Decision.ASK,
            because=f"{WHERE}: a person looks first",
            where=WHERE,
        )
        for name in order.targets
    )
    return Card(kind="propose", title="", by=person.name, at=at, order=order, steps=steps)
