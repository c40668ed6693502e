"""What an open page holds against the live state, to notice that a question is no longer the one it
shows. Not what a person signs: that is the digest and the nonce, and the desk compares those."""

from __future__ import annotations

from datetime import datetime

from watchkeeper.console.drawing import seconds_left
from watchkeeper.core.desk import Ask, Board
from watchkeeper.core.word import digest


def signature(ask: Ask, at: datetime) -> str:
    """Changes when what a person reads or may do about a question changes: its state, who approved
    so far, what is shown. "" for one that no longer waits."""
    if ask.status.state != "waiting":
        return ""
    state = ask.status.state if seconds_left(ask, at) else "expired"
    return f"{state}:{len(ask.approvals)}:{ask.digest[:8]}"


def signatures(board: Board) -> dict[str, str]:
    """Of every question that waits, by its id, in the order of the page."""
    return {ask.id: signature(ask, board.at) for ask in board.waiting}


def waits_key(board: Board) -> str:
    """One short text for all of them: equal as long as the page shows what waits."""
    return digest(list(signatures(board).items()))[:16]
