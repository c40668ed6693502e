"""The lab proper: starts the cluster, its collectors and gangs, and answers on a unix socket.

Started by `ray_lab` only. Raylets and collectors are started from the main thread; requests come
in on threads and are handed over to it. Every effect names this lab, this session, an idempotency
key and a fencing token.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import FrameType
from typing import Any

from watchkeeper.adapters.effect_file import Effects, number_of, text_of
from watchkeeper.adapters.gang_progress import ProgressRoot, write_atomically
from watchkeeper.adapters.lab_collectors import Collectors
from watchkeeper.adapters.lab_rpc import Server
from watchkeeper.adapters.lab_sim import LabSim
from watchkeeper.adapters.ray_gcs import Gcs
from watchkeeper.adapters.ray_lab import parse
from watchkeeper.adapters.ray_lab_cluster import (
    ENVIRONMENT,
    FIRST_POOL,
    HEAD,
    LabCluster,
    place,
)
from watchkeeper.adapters.ray_lab_gangs import busy_gpus, submit_gangs
from watchkeeper.adapters.ray_names import NODE
from watchkeeper.core.errors import EffectFailed

_JOIN_S = 60.0
_DEATH_S = 8.0
_LOAD_EVERY_S = 2.0


class Lab:
    """One lab, from start to end."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self._dir: Path = args.dir
        self.lab_id: str = args.lab_id
        self._name = f"lab-{self.lab_id}"
        self.cluster = LabCluster(self.lab_id, args.tmp, args.gpus_per_node)
        self._sim = LabSim(self._dir / "sim")
        self._progress = self._dir / "progress"
        self._effects = Effects(self._dir / "effects.jsonl")
        self._collectors = Collectors(
            args.redis, self._name, self._sim.root, self._dir, args.gpus_per_node
        )
        self._work: queue.Queue[tuple[Callable[[], Any], Future[Any]]] = queue.Queue()
        self._stop = False

    def stop(self, _signal: int = 0, _frame: FrameType | None = None) -> None:
        """End soon; safe to call from a signal."""
        self._stop = True

    def listen(self) -> None:
        """Let SIGTERM and SIGINT end the lab in order. Said again after each raylet's start: Ray
        puts its own handler in our place, which would drain for half a minute."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.stop)

    def start(self) -> None:
        """Bring everything up and write lab.json. Raises whatever Ray raises."""
        self._progress.mkdir(exist_ok=True)
        self.cluster.start_head()
        places = [place(FIRST_POOL, i + 1) for i in range(self._args.workers)]
        for where in places:
            self.listen()
            if self._stop:
                return
            self.cluster.start_worker(where)
        self.listen()
        self.cluster.wait_for([HEAD, *(p.name for p in places)], _JOIN_S)
        for name in [HEAD, *(p.name for p in places)]:
            self._sim.prepare(name)
            self._collectors.start(name)
        self._server = Server(self._dir / "lab.sock", self._args.tmp / "lab.sock", self.answer)
        self._server.start()
        self._write()

    def _write(self) -> None:
        pids = {n: self.cluster.raylet_pid(n) for n in self.cluster.processes()}
        note = {
            **self._info(),
            "socket": str(self._server.path),
            "pids": {"guardian": os.getppid(), "lab": os.getpid(), **pids},
            "started_at": time.time(),
        }
        write_atomically(self._dir / "lab.json", json.dumps(note, indent=1).encode())

    def _info(self) -> dict[str, Any]:
        return {
            "lab_id": self.lab_id,
            "cluster": self._name,
            "address": self.cluster.address,
            "job_api": self.cluster.job_api,
            "session": self.cluster.session,
            "progress_root": str(self._progress),
            "sim_root": str(self._sim.root),
        }

    def run(self) -> None:
        """Serve until asked to stop."""
        if not self._args.no_gangs:
            threading.Thread(target=self._gangs, daemon=True).start()
        root, next_load = ProgressRoot(self._progress), 0.0
        while not self._stop:
            with contextlib.suppress(queue.Empty):
                act, answer = self._work.get(timeout=0.25)
                try:
                    answer.set_result(act())
                except BaseException as err:
                    answer.set_exception(err)
            if time.monotonic() >= next_load:
                next_load = time.monotonic() + _LOAD_EVERY_S
                self._sim.load(busy_gpus(root), self.cluster.processes())
                self._collectors.mend()
            if os.getppid() != self._args.parent:
                return

    def _gangs(self) -> None:
        submit_gangs(self.cluster.job_api, self._progress, self._args.workers)

    def close(self) -> None:
        """End collectors and raylets."""
        self._collectors.close()
        self.cluster.shutdown()

    # --- requests ------------------------------------------------------------------------------

    def _on_main(self, act: Callable[[], Any]) -> Any:
        answer: Future[Any] = Future()
        self._work.put((act, answer))
        return answer.result()

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer one request. Raises EffectFailed, EffectInDoubt, LeaseLost."""
        op = text_of(request, "op")
        if op == "info":
            return self._info()
        if request.get("lab_id") != self.lab_id:
            raise EffectFailed(
                f"This is lab {self.lab_id}; the request is for {request.get('lab_id')!r}. "
                "Nothing was done."
            )
        if op == "processes":
            return {"processes": self.cluster.processes()}
        if request.get("session") != self.cluster.session:
            raise EffectFailed(
                f"The lab's session is {self.cluster.session}; the request is for "
                f"{request.get('session')!r}. Nothing was done."
            )
        if op == "inject":
            return {"text": self._inject(request)}
        acts = {"restart": self._restart, "terminate": self._terminate, "add_node": self._add_node}
        if op not in acts:
            raise EffectFailed(f"The lab cannot {op!r}; it can {', '.join(sorted(acts))}.")
        target = text_of(request, "node") or "pool:" + text_of(request, "pool")
        text = self._effects.once(
            text_of(request, "key"),
            target,
            number_of(request, "token"),
            lambda: str(self._on_main(lambda: acts[op](request))),
        )
        return {"text": text}

    def _row(self, node: str) -> Any:
        """The newest raylet behind a name, as the GCS knows it, or None."""
        gcs = Gcs(self.cluster.address)
        try:
            rows = [row for row in gcs.nodes() if row.labels.get(NODE) == node]
            draining = gcs.draining()
        finally:
            gcs.close()
        newest = max(rows, key=lambda row: (row.alive, row.started), default=None)
        return newest, newest is not None and newest.node_id in draining

    def _worker(self, request: dict[str, Any]) -> str:
        node = text_of(request, "node")
        if node not in self.cluster.places:
            known = ", ".join(sorted(self.cluster.places))
            raise EffectFailed(f"The lab has no worker called {node!r}; it has {known}.")
        return node

    def _same(self, node: str, incarnation: str) -> tuple[Any, bool]:
        row, draining = self._row(node)
        if row is not None and incarnation and row.node_id != incarnation:
            raise EffectFailed(
                f"{node} is another raylet now ({row.node_id[:8]}, not {incarnation[:8]})."
            )
        return row, draining

    def _restart(self, request: dict[str, Any]) -> str:
        node = self._worker(request)
        row, draining = self._same(node, text_of(request, "incarnation"))
        running = self.cluster.processes().get(node)
        if running and row is not None and row.alive:
            state = "still drains" if draining else "is alive and takes work: drain it first"
            raise EffectFailed(f"The raylet of {node} {state}. A restart never touches what lives.")
        end = time.monotonic() + _DEATH_S
        while row is not None and row.alive and time.monotonic() < end:
            # Its process is gone and Ray has not noticed yet. Two raylets behind one name would
            # be taken for one.
            time.sleep(0.1)
            row, _ = self._row(node)
        self.cluster.kill(node)
        hidden = [int(i) for i in request.get("hidden_gpus", [])]
        self._sim.prepare(node)
        self.cluster.start_worker(self.cluster.places[node], hidden)
        self.listen()
        self._collectors.start(node)
        return f"A new raylet for {node} runs."

    def _terminate(self, request: dict[str, Any]) -> str:
        node = self._worker(request)
        row, draining = self._same(node, text_of(request, "incarnation"))
        if row is not None and row.alive and not draining:
            raise EffectFailed(f"{node} is alive and was not drained, so it is not ended by force.")
        self.cluster.kill(node)
        return f"Ended the raylet of {node}."

    def _add_node(self, request: dict[str, Any]) -> str:
        where = self.cluster.next_place(text_of(request, "pool"))
        self._sim.prepare(where.name)
        self.cluster.start_worker(where)
        self.listen()
        self._collectors.start(where.name)
        return f"Added {where.name} to {where.pool}."

    def _inject(self, request: dict[str, Any]) -> str:
        node, fault = text_of(request, "node"), text_of(request, "fault")
        if fault == "node-loss":
            self._worker(request)
            self._on_main(lambda: self.cluster.kill(node))
            return f"Killed the raylet of {node} and its workers."
        if fault == "silence":
            if node not in self.cluster.processes():
                self._worker(request)
            self._on_main(lambda: self._collectors.silence(node))
            return f"Stopped the collector of {node}."
        if fault == "xid":
            self._worker(request)
            gpu, code = number_of(request, "gpu"), number_of(request, "code")
            if not 0 <= gpu < self._args.gpus_per_node:
                raise EffectFailed(f"{node} has no GPU {gpu}.")
            return self._sim.xid(node, gpu, code)
        raise EffectFailed(f"Unknown fault {fault!r}; there are node-loss, xid and silence.")


def main(argv: list[str]) -> int:
    """Run one lab; the reason of a failure goes to lab.error for the guardian to tell."""
    args = parse(argv)
    os.environ.update(ENVIRONMENT)
    os.environ["RAY_TMPDIR"] = str(args.tmp)
    os.environ.pop("RAY_ADDRESS", None)
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    error = args.dir / "lab.error"
    error.unlink(missing_ok=True)
    lab = Lab(args)
    try:
        lab.listen()
        lab.start()
        lab.run()
    except Exception as err:
        traceback.print_exc()
        first = str(err).strip().splitlines()[:1] or [type(err).__name__]
        error.write_text(f"{first[0][:300]} (details in {args.dir / 'lab.log'})\n")
        return 1
    finally:
        lab.close()
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    # Ray's own exit hooks would wait for processes that are gone already.
    os._exit(code)
