"""The console's HTTP server on a thread of the watch process."""

from __future__ import annotations

import threading
import time

import uvicorn

from watchkeeper.app.console_config import ConsoleConfig
from watchkeeper.console.app import create_app
from watchkeeper.core.clock import Clock, Ids
from watchkeeper.core.desk import Desk
from watchkeeper.core.errors import AlreadyRunning
from watchkeeper.core.sign_on import Tokens

START_S = 10.0


class ConsoleServer:
    """Serves the console on 127.0.0.1 until stopped."""

    def __init__(
        self,
        desk: Desk,
        clock: Clock,
        ids: Ids,
        port: int,
        config: ConsoleConfig | None = None,
        tokens: Tokens | None = None,
    ) -> None:
        """Raises UsageError for a provider that cannot be."""
        config = config or ConsoleConfig()
        here = f"http://127.0.0.1:{port}"
        app = create_app(
            desk,
            clock,
            ids,
            public_url=config.public_url or here,
            local_url=here,
            spans=config.spans(),
            tokens=tokens,
            sign_on=config.sign_on(clock),
        )
        served = uvicorn.Config(
            app,
            host="127.0.0.1",
            port=port,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=2,
        )
        self._port = port
        self._server = uvicorn.Server(served)
        self._thread = threading.Thread(target=self._server.run, name="console", daemon=True)

    def start(self) -> None:
        """Begin to serve. Raises AlreadyRunning when the port is taken."""
        self._thread.start()
        deadline = time.monotonic() + START_S
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise AlreadyRunning(
                    f"The console cannot listen on 127.0.0.1:{self._port}. Choose another --port."
                )
            time.sleep(0.02)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(5.0)
