"""What takes an action back? Asked when an outcome was worse, and by the pages."""

from watchkeeper.core.action import Action, NodeCordon, NodeUncordon


def undo(action: Action) -> Action | None:
    """The action that takes it back, or None: most repairs are one-way."""
    match action:
        case NodeCordon():
            return NodeUncordon(node=action.node, incarnation=action.incarnation)
        case NodeUncordon():
            return NodeCordon(node=action.node, incarnation=action.incarnation)
        case _:
            return None  # a power cap's undo needs the former limit, which the action lacks
