"""How fast the map of a large fleet is: one reading of every cell, by the real columns and a real
server process, and its drawing in a real browser.

    python -m tests.browser.map_load [GPUS]

Prints one JSON object. It measures; it never judges.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import socket
import statistics
import sys
import threading
import time
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

import msgspec
import numpy as np
import psutil
import uvicorn
from playwright.sync_api import sync_playwright
from tests.browser.fake_desk import FakeDesk
from tests.conftest import FLAGS
from tests.core.policy_case import Given

from watchkeeper.adapters.system_clock import SystemClock, SystemIds
from watchkeeper.console.app import create_app
from watchkeeper.console.rates import Limits, Rate
from watchkeeper.control.cells import cells_of, layout_of
from watchkeeper.core.cells import FleetCells, FleetLayout, Grouping, Shade
from watchkeeper.core.telemetry import GPU_FIELDS, Snapshot

ROUNDS = 100
SETTLED_MS = 1_000
"""After this the page has its stream and its first lines: what follows is the map alone."""
SIZES = {"desk": (1440, 900), "phone": (390, 844)}
UPDATE = """async rounds => {
  const { FleetMap } = await import('/static/fleet.js');
  const at = id => document.getElementById(id);
  const map = new FleetMap(at('fleet-map'), at('fleet-cursor'));
  await map.read();
  const draw = [], whole = [];
  for (let i = 0; i < rounds; i++) {
    const began = performance.now();
    await map.read();
    await new Promise(done => requestAnimationFrame(() => setTimeout(done, 0)));
    whole.push(performance.now() - began);
    const again = performance.now();
    map.draw();
    draw.push(performance.now() - again);
  }
  return [draw, whole];
}"""


def fleet(gpus: int) -> Snapshot:
    """So many GPUs, 8 a node, 16 nodes a rack; readings from a fixed seed."""
    small = Given()._snapshot()
    one = next(iter(small.nodes.values()))
    count = gpus // 8
    names = tuple(f"train-{i:05d}" for i in range(count))
    nodes = {
        name: msgspec.structs.replace(one, name=name, rack=f"rack-{i // 16:04d}")
        for i, name in enumerate(names)
    }
    table = np.random.default_rng(1).uniform(0, 100, (count, 8, len(GPU_FIELDS)))
    table[:, :, GPU_FIELDS.index("present")] = 1.0
    frame = replace(
        small.frame,
        nodes=names,
        row={name: i for i, name in enumerate(names)},
        gpu=table.astype(np.float32),
        host=np.zeros((count, small.frame.host.shape[1]), np.float32),
        read_at=np.full(count, small.at.timestamp()),
        simulated=np.ones(count, bool),
        vendor=("simulated",) * count,
    )
    return replace(small, state=msgspec.structs.replace(small.state, nodes=nodes), frame=frame)


class BigDesk(FakeDesk):
    """The simulated morning, with a large fleet behind its map: each reading is another one."""

    def __init__(self, gpus: int) -> None:
        super().__init__(SystemClock(), SystemIds())
        self._snapshot = first = fleet(gpus)
        self._turn = 0
        tables = [np.roll(first.frame.gpu, i, axis=0) for i in range(8)]
        self._turns = [replace(first, frame=replace(first.frame, gpu=t)) for t in tables]

    def layout(self, by: Grouping) -> FleetLayout:
        return layout_of(self._snapshot, by)

    def cells(self, shade: Shade, by: Grouping) -> FleetCells:
        self._turn += 1
        return cells_of(self._turns[self._turn % len(self._turns)], (), {}, shade, by)


def serve(port: int, gpus: int, pipe: Connection) -> None:
    """The server process."""
    desk = BigDesk(gpus)
    wide = Limits(Rate(1e9, 1e9), Rate(1e9, 1e9), Rate(1e9, 1e9))
    url = f"http://127.0.0.1:{port}"
    app = create_app(desk, SystemClock(), SystemIds(), public_url=url, limits=wide)
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", access_log=False)
    )

    def tell() -> None:
        while not server.started:
            time.sleep(0.01)
        pipe.send(desk.login_links()[0][1])
        pipe.recv()
        server.should_exit = True

    threading.Thread(target=tell, daemon=True).start()
    server.run()


def measured(base: str, link: str, server: psutil.Process) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with sync_playwright() as playwright:
        path = os.environ.get("CHROMIUM") or shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        context = browser.new_context()
        page = context.new_page()
        page.goto(base + link)
        page.get_by_role("button", name="Sign in").click()
        for name, (width, height) in SIZES.items():
            page.set_viewport_size({"width": width, "height": height})
            page.goto(f"{base}/fleet?shade=utilization")
            page.wait_for_selector("#fleet-map[data-drawn-ms]")
            paint = page.evaluate(
                "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
            )
            page.wait_for_timeout(SETTLED_MS)
            before = server.cpu_times()
            draw, whole = page.evaluate(UPDATE, ROUNDS)
            after = server.cpu_times()
            used = after.user + after.system - before.user - before.system
            found[name] = {
                "draw_ms_p50": round(statistics.median(draw), 1),
                "update_ms_p50": round(statistics.median(whole), 1),
                "server_cpu_ms_each": round(1000 * used / (ROUNDS + 1), 2),
                "first_paint_ms": round(paint or 0.0),
            }
        browser.close()
    return found


def main(gpus: int) -> dict[str, Any]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.Process(target=serve, args=(port, gpus, theirs), daemon=True)
    child.start()
    try:
        link = ours.recv()
        found = measured(f"http://127.0.0.1:{port}", link, psutil.Process(child.pid))
    finally:
        ours.send("end")
        child.join(5)
        if child.is_alive():
            child.terminate()
    snapshot = fleet(gpus)
    own = []
    for i in range(ROUNDS):
        gpu = np.roll(snapshot.frame.gpu, i, axis=0)
        now = replace(snapshot, frame=replace(snapshot.frame, gpu=gpu))
        began = time.process_time()
        body = msgspec.json.encode(cells_of(now, (), {}, Shade.UTILIZATION, Grouping.RACK))
        own.append(time.process_time() - began)
    return {
        "gpus": gpus,
        "bytes": len(body),
        "cells_cpu_ms_p50": round(1000 * statistics.median(own), 2),
        "load_1m": round(os.getloadavg()[0], 1),
        **found,
    }


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000), indent=2))
