"""The watch's side of the driver child: start it when first needed, speak lines, start it anew.

Everything here raises our own errors; the child's end is an EffectInDoubt for the call it ended
in, never the end of the watch.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import threading
import time
from typing import Any

from watchkeeper.adapters.ray_gcs import Gcs
from watchkeeper.core.errors import ClusterUnavailable, EffectFailed, EffectInDoubt

_START_S = 30.0

LOOPBACK_ENVIRONMENT = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Whatever the name says: with it Ray takes 127.0.0.1 for this host's address. GCS and raylets
started so listen on this machine only, and drivers and agents find them there."""


def driver_environment(address: str) -> dict[str, str]:
    """What a driver on this host needs in its environment to meet the cluster at `address`.

    Raises EffectFailed when its GCS does not answer.
    """
    gcs = Gcs(address)
    try:
        loopback = any(row.alive and row.address == "127.0.0.1" for row in gcs.nodes())
    except ClusterUnavailable as err:
        raise EffectFailed(f"Nothing was done: {err}") from err
    finally:
        gcs.close()
    return dict(LOOPBACK_ENVIRONMENT) if loopback else {}


class RayDoor:
    """One driver child for one cluster. Calls are served one at a time; any thread may ask.

    Close it when the watch ends; it also ends by itself when this process does.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._rest = b""

    @property
    def pid(self) -> int | None:
        """The child's process id while it lives."""
        child = self._child
        return child.pid if child is not None and child.poll() is None else None

    def call(self, op: str, within_s: float, **arguments: Any) -> dict[str, Any]:
        """Ask the child for one operation.

        Raises EffectFailed (no child could connect, or it refused: nothing happened),
        EffectInDoubt (it ended or was silent in the middle).
        """
        with self._lock:
            child = self._ready()
            assert child.stdin is not None
            try:
                child.stdin.write(json.dumps({"op": op, **arguments}).encode() + b"\n")
                child.stdin.flush()
                answer = self._line(child, within_s)
            except (OSError, TimeoutError) as err:
                self._end()
                raise EffectInDoubt(f"The Ray driver did not answer to {op}: {err}") from err
        if not answer.pop("ok", False):
            raise EffectFailed(f"{op}: {answer.get('error', 'refused without a reason')}")
        return answer

    def _ready(self) -> subprocess.Popen[bytes]:
        child = self._child
        if child is not None and child.poll() is None:
            return child
        self._end()
        environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
        environment.update(driver_environment(self._address))
        child = subprocess.Popen(
            [sys.executable, "-m", "watchkeeper.adapters.ray_driver", self._address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
        self._child, self._rest = child, b""
        try:
            self._line(child, _START_S)
        except (OSError, TimeoutError) as err:
            self._end()
            raise EffectFailed(
                f"No Ray driver could connect to {self._address}: {err}. "
                "It needs a raylet of that cluster on this host."
            ) from err
        return child

    def _line(self, child: subprocess.Popen[bytes], timeout_s: float) -> dict[str, Any]:
        assert child.stdout is not None
        end = time.monotonic() + timeout_s
        while b"\n" not in self._rest:
            left = end - time.monotonic()
            if left <= 0 or not select.select([child.stdout], [], [], left)[0]:
                raise TimeoutError(f"no answer in {timeout_s:g} s")
            data = os.read(child.stdout.fileno(), 65536)
            if not data:
                raise OSError(f"its process ended (exit code {child.wait()})")
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        if child.stdin is not None:
            child.stdin.close()
        try:
            child.wait(2)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        if child.stdout is not None:
            child.stdout.close()

    def close(self) -> None:
        """End the child."""
        with self._lock:
            self._end()
