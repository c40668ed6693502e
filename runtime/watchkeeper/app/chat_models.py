"""The model in the chat's seat, put together: for a running watch, and for `policy draft` alone."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from watchkeeper.app.model_settings import Models, models_of, read_models
from watchkeeper_agents.chat import answer_from
from watchkeeper_agents.chat_orders import named_in, order_of
from watchkeeper_agents.models.drafting import writer
from watchkeeper_agents.models.talking import AGENT, Talker

if TYPE_CHECKING:
    from watchkeeper.app.policy_draft import Writer


def talker_of(models: Models | None) -> Talker | None:
    """The chat's model; None where no file of models gives the chat a seat."""
    seat = models.use.seats.get(AGENT) if models is not None else None
    if models is None or seat is None:
        return None
    client = models.clients[seat.model]
    clerk = models.reasoner.clerk
    return Talker(client, seat, clerk, models.run, answer_from, order_of, named_in)


def writer_of(path: Path) -> tuple[Writer | None, str]:
    """Who drafts by these settings, and its name; (None, "") where the chat has no seat. Raises
    UsageError."""
    models = models_of(read_models(path), ())
    talker = talker_of(models)
    if talker is None:
        return None, ""
    return writer(talker, time.monotonic), talker.name
