"""A small server that speaks OpenAI's chat protocol and Anthropic's messages on loopback; plays a
model of any character.

A character is a function of the request that gives what to send: an answer, words, tool calls, or
an act against the client (silence, a drip, a flood, an error).
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Character = Callable[["Request"], "Reply"]


@dataclass
class Request:
    """One call: what was sent, and the how-manieth it is."""

    body: dict[str, Any]
    number: int
    headers: dict[str, str]

    @property
    def case(self) -> dict[str, Any]:
        """The typed facts, as the last user message holds them."""
        users = [m["content"] for m in self.body["messages"] if m["role"] == "user"]
        first = users[0] if isinstance(users[0], str) else users[0][0]["text"]
        return json.loads(first)  # type: ignore[no-any-return]

    @property
    def tools(self) -> list[str]:
        return [t.get("function", t)["name"] for t in self.body.get("tools", ())]

    @property
    def told(self) -> list[str]:
        """What tools answered so far."""
        said = [m["content"] for m in self.body["messages"] if m["role"] == "tool"]
        for m in self.body["messages"]:
            parts = m["content"] if isinstance(m["content"], list) else ()
            said += [str(p["content"]) for p in parts if p["type"] == "tool_result"]
        return said


@dataclass
class Reply:
    """text: the assistant's words. calls: (tool, arguments). status: of HTTP. wait_s: before any
    byte. drip_s: between the bytes of the answer. raw: sent in the place of a whole answer."""

    text: str = ""
    calls: tuple[tuple[str, dict[str, Any]], ...] = ()
    status: int = 200
    wait_s: float = 0.0
    drip_s: float = 0.0
    raw: bytes | None = None
    ended: str = "stop"
    usage: dict[str, Any] | None = field(
        default_factory=lambda: {"prompt_tokens": 700, "completion_tokens": 60}
    )


def answer(option: str = "step", confidence: float = 0.8, **more: Any) -> Reply:
    """A whole answer."""
    said = {"option": option, "confidence": confidence, "why": "Two instruments agree."}
    return Reply(text=json.dumps(said | {"causes": [], "checks": []} | more))


class ModelServer:
    """Plays one character at a time; remembers every request."""

    def __init__(self, character: Character) -> None:
        self.character = character
        self.requests: list[Request] = []
        self.over = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                size = int(self.headers["content-length"])
                body = json.loads(self.rfile.read(size))
                request = Request(body, len(server.requests) + 1, dict(self.headers))
                server.requests.append(request)
                anthropic = self.path.endswith("/messages")
                server._send(self, server.character(request), anthropic)

            def log_message(self, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *args: object) -> None:
                """The client hung up: that is what is tried."""

        self._http = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/v1"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.over.set()
        self._http.shutdown()
        self._http.server_close()

    def _send(self, to: BaseHTTPRequestHandler, reply: Reply, anthropic: bool) -> None:
        if reply.wait_s:
            self.over.wait(reply.wait_s)
        whole = _message(reply) if anthropic else _completion(reply)
        data = reply.raw if reply.raw is not None else json.dumps(whole).encode()
        to.send_response(reply.status)
        to.send_header("content-type", "application/json")
        to.send_header("content-length", str(len(data)))
        to.end_headers()
        if not reply.drip_s:
            to.wfile.write(data)
            return
        for i in range(len(data)):
            to.wfile.write(data[i : i + 1])
            to.wfile.flush()
            if self.over.wait(reply.drip_s):
                return


def _completion(reply: Reply) -> dict[str, Any]:
    if reply.status >= 400:
        return {"error": {"message": "no", "type": "server_error"}}
    message: dict[str, Any] = {"role": "assistant", "content": reply.text}
    if reply.calls:
        message["tool_calls"] = [
            {
                "id": f"call_{i}",
                "type": "function",
                "function": {"name": name, "arguments": json.dumps(args)},
            }
            for i, (name, args) in enumerate(reply.calls)
        ]
    whole: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": "played",
        "choices": [{"index": 0, "message": message, "finish_reason": reply.ended}],
    }
    if reply.usage is not None:
        used = reply.usage
        whole["usage"] = used | {"total_tokens": sum(v for v in used.values() if type(v) is int)}
    return whole


def _message(reply: Reply) -> dict[str, Any]:
    """The same as Anthropic's messages API says it."""
    if reply.status >= 400:
        return {"type": "error", "error": {"type": "api_error", "message": "no"}}
    content: list[dict[str, Any]] = [{"type": "text", "text": reply.text}] if reply.text else []
    content += [
        {"type": "tool_use", "id": f"toolu_{i}", "name": name, "input": args}
        for i, (name, args) in enumerate(reply.calls)
    ]
    used = reply.usage or {}
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "played",
        "content": content,
        "stop_reason": "tool_use" if reply.calls else "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": used.get("prompt_tokens", 0),
            "output_tokens": used.get("completion_tokens", 0),
        },
    }


@contextmanager
def playing(character: Character) -> Iterator[ModelServer]:
    server = ModelServer(character)
    try:
        yield server
    finally:
        server.close()
