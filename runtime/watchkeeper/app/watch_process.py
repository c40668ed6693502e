"""The watch process: turns, console and the command line's door, until told to end.

Started by the supervisor with the path of its settings. Says that it is ready by writing
`run/watch.ready`: the addresses that `up` prints.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

from watchkeeper.app.settings import Home, Settings
from watchkeeper.core.errors import WatchkeeperError

log = logging.getLogger("watchkeeper.process")
READY_S = 30.0


def main(settings_path: str) -> int:
    """Run until SIGTERM; returns the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    home = Home.find().make()
    try:
        return _run(Settings.load(Path(settings_path)), home)
    except WatchkeeperError as err:
        print(f"{err}", file=sys.stderr, flush=True)
        return err.exit_code


def _run(settings: Settings, home: Home) -> int:
    from watchkeeper.adapters.token_file import TokenFile
    from watchkeeper.app.console_config import read_console
    from watchkeeper.app.door import Door
    from watchkeeper.app.serve import ConsoleServer
    from watchkeeper.app.wiring import build, door_calls

    end = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        end.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    running = build(settings, home)
    door = console = None
    try:
        (home.run / "cluster.json").write_text(json.dumps({"cluster": running.ports.cluster}))
        running.start()
        clock, ids = running.watch.clock, running.watch.ids
        tokens = TokenFile(home.tokens, clock, ids)
        door = Door(home.socket, door_calls(running, tokens))
        console = ConsoleServer(
            running.desk, clock, ids, settings.port, read_console(settings.console), tokens
        )
        console.start()
        _say_ready(home, settings, running.desk)
        end.wait()
        return 0
    finally:
        if console is not None:
            console.stop()
        if door is not None:
            door.close()
        running.close()


def _say_ready(home: Home, settings: Settings, desk: object) -> None:
    from watchkeeper.app.console_config import read_console
    from watchkeeper.control.desk import WatchDesk

    assert isinstance(desk, WatchDesk)
    desk.wait(0, READY_S)
    base = read_console(settings.console).public_url or f"http://127.0.0.1:{settings.port}"
    lines = [f"Console: {base}"]
    links = desk.login_links()
    if links:
        lines.append("One-time login links:")
        lines += [f"  {name:<12} {base}{path}" for name, path in links]
    else:
        lines.append("No people in the policy, so nobody can log in (see --policies).")
    ready = home.run / "watch.ready"
    partial = ready.with_suffix(".tmp")
    partial.write_text("\n".join(lines) + "\n")
    partial.chmod(0o600)
    partial.rename(ready)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
