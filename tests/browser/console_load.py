"""How much the console costs: memory of an open page, time until all have the news, pages with many
questions waiting. Real HTTP against a server process of its own, over the simulated morning.

    python -m tests.browser.console_load

Prints one JSON object. It measures; it never judges.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import socket
import statistics
import time
from contextlib import ExitStack
from multiprocessing.connection import Connection
from typing import Any

import httpx
import msgspec
import psutil
import uvicorn
from tests.browser.fake_desk import FakeDesk

from watchkeeper.adapters.system_clock import SystemClock, SystemIds
from watchkeeper.console.app import create_app
from watchkeeper.console.rates import Limits, Rate
from watchkeeper.core.desk import Person

PEOPLE = tuple(Person(name=f"p{n}", groups=("oncall",)) for n in range(4))
CLIENTS = (1, 100, 200)
QUESTIONS = (2, 100, 1000)
ROUNDS = 15
MIB = 1024 * 1024


def serve(port: int, pipe: Connection) -> None:
    """The server process: answers the pipe's words until it says end."""
    clock, ids = SystemClock(), SystemIds()
    desk = FakeDesk(clock, ids)
    desk.people_are(*PEOPLE)
    wide = Limits(Rate(1e9, 1e9), Rate(1e9, 1e9), Rate(1e9, 1e9))
    app = create_app(desk, clock, ids, public_url=f"http://127.0.0.1:{port}", limits=wide)
    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", access_log=False)
    server = uvicorn.Server(config)

    def obey() -> None:
        while not server.started:
            time.sleep(0.01)
        pipe.send([path for _, path in desk.login_links()])
        while (word := pipe.recv()) != "end":
            if word == "line":
                desk.say_line("Saw", "One more reading of train-02.")
            else:
                more_questions(desk, int(word))
            pipe.send("done")
        server.should_exit = True

    import threading

    threading.Thread(target=obey, daemon=True).start()
    server.run()


def more_questions(desk: FakeDesk, number: int) -> None:
    """So many wait, each like one of the morning's."""
    like = [a for a in desk.asks() if a.id.startswith("P-")]
    for n in range(len(desk.asks()), number):
        ask = like[n % len(like)]
        desk.put(msgspec.structs.replace(ask, id=f"P-{1000 + n}", nonce=f"nonce-{n}"))


async def listeners(base: str, cookies: list[str], number: int, pipe: Connection) -> dict[str, Any]:
    """Open so many streams, and see one line reach all of them."""
    limits = httpx.Limits(max_connections=number + 10)
    async with httpx.AsyncClient(timeout=60, limits=limits) as client:
        ready, heard = asyncio.Semaphore(0), asyncio.Semaphore(0)

        async def listen(n: int) -> None:
            headers = {"cookie": cookies[n % len(cookies)]}
            url = f"{base}/events?after=12"
            async with client.stream("GET", url, headers=headers) as stream:
                assert stream.status_code == 200, stream.status_code
                async for line in stream.aiter_lines():
                    if line == "event: state":
                        ready.release()
                    if line == "event: line":
                        heard.release()

        tasks = [asyncio.create_task(listen(n)) for n in range(number)]
        for _ in tasks:
            await ready.acquire()
        await asyncio.sleep(6.0)  # one beat with nothing new
        memory = psutil.Process(_pid(pipe)).memory_full_info().uss
        cpu = psutil.Process(_pid(pipe)).cpu_times()
        while not heard.locked():
            await heard.acquire()
        began = time.perf_counter()
        await asyncio.to_thread(_told, pipe, "line")
        for _ in tasks:
            await heard.acquire()
        took = time.perf_counter() - began
        after = psutil.Process(_pid(pipe)).cpu_times()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    used = after.user + after.system - cpu.user - cpu.system
    return {
        "uss_mib": round(memory / MIB, 2),
        "line_to_all_ms": round(took * 1000, 1),
        "server_cpu_ms_each": round(used * 1000 / number, 2),
    }


_CHILD: dict[int, int] = {}


def _pid(pipe: Connection) -> int:
    return _CHILD[id(pipe)]


def _told(pipe: Connection, word: str) -> None:
    pipe.send(word)
    assert pipe.recv() == "done"


def pages(base: str, cookie: str) -> dict[str, Any]:
    """Server time of a page as a client sees it, and its size."""
    found: dict[str, Any] = {}
    with httpx.Client(headers={"cookie": cookie}, timeout=60) as client:
        for path in ("/", "/a/P-7", "/api/v1/approvals", "/api/v1/approvals?limit=50"):
            taken = []
            for _ in range(ROUNDS):
                began = time.perf_counter()
                answer = client.get(f"{base}{path}")
                taken.append(time.perf_counter() - began)
                assert answer.status_code == 200, (path, answer.status_code)
            median = round(statistics.median(taken) * 1000, 1)
            found[path] = {"median_ms": median, "kB": round(len(answer.content) / 1000, 1)}
    return found


def main() -> None:
    """Measure and print."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    base = f"http://127.0.0.1:{port}"
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    child = context.Process(target=serve, args=(port, theirs), daemon=True)
    child.start()
    with ExitStack() as stack:
        stack.callback(child.join, 10)
        stack.callback(pipe.send, "end")
        assert child.pid is not None
        _CHILD[id(pipe)] = child.pid
        cookies = []
        for path in pipe.recv():
            token = path.partition("=")[2]
            login = httpx.post(f"{base}/login", data={"token": token})
            cookies.append(login.headers["set-cookie"].partition(";")[0])
        found: dict[str, Any] = {"load_1m": round(os.getloadavg()[0], 2), "simulated": True}
        for number in CLIENTS:
            found[f"{number} clients"] = asyncio.run(listeners(base, cookies, number, pipe))
        first, last = (found[f"{n} clients"]["uss_mib"] for n in (CLIENTS[0], CLIENTS[-1]))
        found["mib_per_client"] = round((last - first) / (CLIENTS[-1] - CLIENTS[0]), 3)
        for number in QUESTIONS:
            _told(pipe, str(number))
            found[f"{number} questions"] = pages(base, cookies[0])
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
