"""The command line's door to a running watch: a 0600 unix socket in the home directory.

One request a line, one answer a line, JSON. Who can open the socket is who owns the home; the
person that an answer is given as is still checked against the policy's people by the desk.
"""

from __future__ import annotations

import logging
import os
import socket
import socketserver
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from watchkeeper.app.settings import Home
from watchkeeper.core import errors
from watchkeeper.core.errors import Malformed, NotRunning, Refused, WatchkeeperError

log = logging.getLogger("watchkeeper.door")
MAX_REQUEST = 64 * 1024
SOCKET_PATH_LIMIT = 100
"""Unix socket addresses are cut at about 107 bytes; a longer home keeps its socket elsewhere and
says where in `watch.sock.path`."""

Call = Callable[..., Any]


class Door:
    """Serves named calls on the socket until closed."""

    def __init__(self, path: Path, calls: Mapping[str, Call]) -> None:
        self._path, self._note = _bindable(path)
        self._path.unlink(missing_ok=True)
        handler = type("Handler", (_Handler,), {"calls": dict(calls)})
        old = os.umask(0o177)
        try:
            self._server = _Server(str(self._path), handler)
        finally:
            os.umask(old)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._path.unlink(missing_ok=True)
        if self._note is not None:
            self._note.unlink(missing_ok=True)


def _bindable(path: Path) -> tuple[Path, Path | None]:
    if len(str(path)) <= SOCKET_PATH_LIMIT:
        return path, None
    short = Path(tempfile.mkdtemp(prefix="wk-")) / "watch.sock"
    note = path.with_name(path.name + ".path")
    note.write_text(str(short))
    return short, note


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    allow_reuse_address = True


class _Handler(socketserver.StreamRequestHandler):
    calls: Mapping[str, Call]

    def handle(self) -> None:
        line = self.rfile.readline(MAX_REQUEST)
        try:
            answer = {"ok": self._answer(line)}
        except WatchkeeperError as err:
            answer = {"error": type(err).__name__, "says": str(err)}
        except Exception as err:
            log.exception("a call failed")
            answer = {"error": "Bug", "says": f"{err!r}"}
        self.wfile.write(msgspec.json.encode(answer) + b"\n")

    def _answer(self, line: bytes) -> Any:
        try:
            request = msgspec.json.decode(line)
            call = self.calls[request["call"]]
            args = request.get("args", {})
        except (ValueError, KeyError, TypeError, RecursionError) as err:
            raise Malformed(f"not a request: {err!r}") from err
        if not isinstance(args, dict):
            raise Malformed("not a request: args must be an object")
        return msgspec.to_builtins(call(**args))


def ask(path: Path, call: str, *, within_s: float = 10.0, **args: Any) -> Any:
    """Make one call to the running watch and wait `within_s` for its answer; all other keywords
    are the call's own. Raises NotRunning, and what the call raised there."""
    note = path.with_name(path.name + ".path")
    try:
        real = Path(note.read_text()) if note.exists() else path
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
            link.settimeout(within_s)
            link.connect(str(real))
            link.sendall(msgspec.json.encode({"call": call, "args": args}) + b"\n")
            # Closed here and not when it is forgotten: a Ctrl-C in a finalizer would be lost.
            with link.makefile("rb") as answers:
                data = answers.readline()
        answer = msgspec.json.decode(data)  # nothing at all when it ended in mid-answer
    except (OSError, msgspec.DecodeError) as err:
        raise NotRunning(
            f"No watch answers in {path.parent}. Start one with `watchkeeper up`, or set "
            "WATCHKEEPER_HOME to its home."
        ) from err
    if "error" in answer:
        kind = getattr(errors, answer["error"], Refused)
        if kind is errors.PolicyError:
            kind = Refused
        raise kind(answer["says"])
    return answer["ok"]


def ask_watch(call: str, **args: Any) -> Any:
    """The same of the watch whose home this is (WATCHKEEPER_HOME)."""
    return ask(Home.find().socket, call, **args)
