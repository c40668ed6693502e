"""A lab's unix socket: one JSON line in, one JSON line out, for its owner only."""

from __future__ import annotations

import json
import os
import socketserver
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from watchkeeper.core.errors import EffectFailed, EffectInDoubt, LeaseLost

_SUN_PATH = 107
_LINE = 64 * 1024


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        server: Any = self.server
        try:
            request = json.loads(self.rfile.readline(_LINE))
            if not isinstance(request, dict):
                raise ValueError("not an object")
        except ValueError as err:
            answer: dict[str, Any] = {"ok": False, "kind": "failed", "error": f"bad request: {err}"}
        else:
            answer = _answered(server.answer, request)
        self.wfile.write(json.dumps(answer).encode() + b"\n")


def _answered(
    answer: Callable[[dict[str, Any]], dict[str, Any]], request: dict[str, Any]
) -> dict[str, Any]:
    try:
        return {"ok": True, **answer(request)}
    except LeaseLost as err:
        return {"ok": False, "kind": "lease", "error": str(err)}
    except EffectInDoubt as err:
        return {"ok": False, "kind": "in_doubt", "error": str(err)}
    except EffectFailed as err:
        return {"ok": False, "kind": "failed", "error": str(err)}
    except Exception as err:
        # Something broke in the middle of an effect: nobody can say how far it came.
        return {"ok": False, "kind": "in_doubt", "error": f"{type(err).__name__}: {err}"}


class _Listener(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 32


class Server:
    """Listens at `wished`, or at `spare` where that path is too long for a unix socket."""

    def __init__(
        self, wished: Path, spare: Path, answer: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> None:
        self.path = wished if len(str(wished)) <= _SUN_PATH else spare
        self.path.unlink(missing_ok=True)
        old = os.umask(0o177)
        try:
            self._listener = _Listener(str(self.path), _Handler)
        finally:
            os.umask(old)
        self._listener.answer = answer  # type: ignore[attr-defined]

    def start(self) -> None:
        """Serve from a thread of its own."""
        threading.Thread(target=self._listener.serve_forever, daemon=True).start()
