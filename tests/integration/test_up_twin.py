"""`up --twin` as its user types it: no Ray, thousands of nodes, everything labelled simulated."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from tests.integration.up import Up

pytestmark = pytest.mark.redis


@pytest.fixture
def up(tmp_path: Path):  # type: ignore[no-untyped-def]
    product = Up(tmp_path / "home", "--twin", "--nodes", "256", "--twin-speed", "60")
    yield product
    product.stop()


def test_the_twin_is_shown_repaired_and_labelled(up: Up) -> None:
    assert "All of it is simulated" in up.said()
    board = up.board()
    assert board["health"]["world"] == "twin"
    assert board["health"]["simulated"] is True
    assert len(board["nodes"]) == 257, "256 workers and the head"
    assert httpx.get(f"{up.base}/healthz").json()["world"] == "twin"
    up.run("inject", "node-loss", "--node", "train-0003")
    up.until(lambda: "node.restart" in up.effects(), 60, "the dead node was not restarted")
    up.until(lambda: "recovered" in up.results(), 60, "and did not come back")
    assert all(e["data"]["incident"]["world"] == "twin" for e in up.events("incident.opened"))
