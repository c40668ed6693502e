"""How fast is one node's loss noticed, judged and repaired, over fresh labs?

`python -m watchkeeper_evals.lab_times --labs 10` brings the whole product up, kills a raylet that
carries a gang, reads the times off the journal, and ends it again; once for each lab. Prints one
JSON object. Seconds count from the moment the raylet was killed.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from watchkeeper.adapters.journal_file import read_events
from watchkeeper.app import door
from watchkeeper.core.errors import WatchkeeperError
from watchkeeper.core.event import Event, Kind

GANG = "llm-pretrain"
STAGES = ("up", "detected", "judged", "restarted", "in_service", "gang_runs")


def main() -> int:
    """Measure and print; progress goes to stderr."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labs", type=int, default=10)
    parser.add_argument("--policies", default="policies")
    args = parser.parse_args()
    runs = []
    for number in range(1, args.labs + 1):
        with tempfile.TemporaryDirectory(prefix="wk-times-") as folder:
            runs.append(one_lab(Path(folder), args.policies))
        print(f"lab {number}: {runs[-1]}", file=sys.stderr, flush=True)
    summary = {stage: _summary([run[stage] for run in runs]) for stage in STAGES}
    print(json.dumps({"labs": args.labs, "load_1m": os.getloadavg()[0], **summary}, indent=2))
    return 0


def _summary(seconds: list[float]) -> dict[str, float]:
    return {"p50": round(statistics.median(seconds), 2), "max": round(max(seconds), 2)}


def one_lab(folder: Path, policies: str) -> dict[str, float]:
    """One fresh lab from start to end; seconds by stage. Raises RuntimeError when it fails."""
    home = folder / "home"
    env = {**os.environ, "WATCHKEEPER_HOME": str(home)}
    argv = [sys.executable, "-m", "watchkeeper.app.cli", "up", "--policies", policies]
    argv += ["--lab-time", "02:30", "--port", str(_free_port())]
    began = time.monotonic()
    with (folder / "up.log").open("wb") as out:
        up = subprocess.Popen(argv, env=env, stdout=out, stderr=subprocess.STDOUT)
    try:
        _until((home / "run" / "watch.ready").exists, 120, "it never came up")
        took = time.monotonic() - began
        _until(lambda: _saved(home), 120, "its gangs never ran")
        return {"up": round(took, 2), **_lose_a_node(home)}
    finally:
        up.terminate()
        up.wait(60)


def _lose_a_node(home: Path) -> dict[str, float]:
    node = _gang(home)["nodes"][0]
    killed = time.time()
    door.ask(home / "watch.sock", "inject", fault="node-loss", node=node, within_s=30.0)
    _until(lambda: _times(home, killed, node) is not None, 180, "the gang never ran again")
    times = _times(home, killed, node)
    assert times is not None
    return times


def _times(home: Path, killed: float, node: str) -> dict[str, float] | None:
    """Seconds since the kill by stage, or None while a stage is missing."""
    events = list(read_events(home / "journal" / "journal.jsonl"))
    ended = {e.data["proposal"]: e for e in events if e.kind is Kind.EFFECT_FINISHED}

    def effect(action: str) -> Event | None:
        started = (e for e in events if e.kind is Kind.EFFECT_STARTED)
        ident = next((e.data["proposal"] for e in started if e.data["action"] == action), "")
        done = ended.get(ident)
        return done if done is not None and done.data["result"] == "recovered" else None

    opened = next(
        (e for e in events if e.kind is Kind.INCIDENT_OPENED and f"node:{node}" in e.subject), None
    )
    stages = {
        "detected": opened,
        "judged": next((e for e in events if e.kind is Kind.VERDICT), None),
        "restarted": effect("node.restart"),
        "in_service": effect("node.uncordon"),
        "gang_runs": effect("job.requeue"),
    }
    if any(event is None for event in stages.values()):
        return None
    return {n: round(e.at.timestamp() - killed, 2) for n, e in stages.items() if e is not None}


def _gang(home: Path) -> dict[str, Any]:
    jobs = door.ask(home / "watch.sock", "board")["jobs"]
    return next((j for j in jobs if j["name"] == GANG), {})


def _saved(home: Path) -> bool:
    gang = _gang(home)
    return gang.get("state") == "running" and bool(gang.get("checkpoint_step"))


def _until(holds: Callable[[], bool], within_s: float, otherwise: str) -> None:
    end = time.monotonic() + within_s
    while True:
        try:
            if holds():
                return
        except WatchkeeperError:
            pass  # not up yet
        if time.monotonic() > end:
            raise RuntimeError(otherwise)
        time.sleep(0.2)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
