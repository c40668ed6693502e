"""What `up` was told, and where things lie on disk."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import platformdirs

from watchkeeper.core.errors import JournalBroken, UsageError
from watchkeeper.core.verdict import Autonomy
from watchkeeper.core.word import Word

DEFAULT_PORT = 8080


class Home:
    """The state directory: journal, latch, sockets, pids. One watch lives in one home."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @staticmethod
    def find() -> Home:
        """WATCHKEEPER_HOME, else `watchkeeper` under the user's data home."""
        given = os.environ.get("WATCHKEEPER_HOME", "")
        return Home(Path(given) if given else Path(platformdirs.user_data_dir("watchkeeper")))

    def make(self) -> Home:
        """Create it, readable by its owner alone. Raises UsageError."""
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.run.mkdir(exist_ok=True, mode=0o700)
            self.logs.mkdir(exist_ok=True, mode=0o700)
        except OSError as err:
            raise UsageError(
                f"The state directory {self.path} cannot be made: {err.strerror}. "
                "Set WATCHKEEPER_HOME to a directory that you can write."
            ) from err
        return self

    @property
    def run(self) -> Path:
        return self.path / "run"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def journal(self) -> Path:
        return self.path / "journal"

    @property
    def stop_file(self) -> Path:
        return self.path / "STOP"

    @property
    def socket(self) -> Path:
        return self.path / "watch.sock"

    @property
    def lab(self) -> Path:
        return self.path / "lab"

    @property
    def redis(self) -> Path:
        return self.path / "redis"

    @property
    def pages(self) -> Path:
        return self.path / "pages.log"

    @property
    def eval_cases(self) -> Path:
        return self.path / "eval-cases.jsonl"

    @property
    def shadow(self) -> Path:
        """Shadow records of forecasts."""
        return self.path / "shadow"

    @property
    def reservations(self) -> Path:
        return self.path / "reservations.jsonl"

    @property
    def tokens(self) -> Path:
        return self.path / "tokens.json"


LONGEST_TURN_S = 10.0
"""Twin seconds from turn to turn, at most: over a faster twin the watch has turns more often."""
LEAST_TURN_S = 0.1


def turn_every_s(speed: float) -> float:
    """Real seconds between two turns over a twin of this speed."""
    return max(LEAST_TURN_S, min(1.0, LONGEST_TURN_S / speed))


class Settings(Word, frozen=True):
    """One watch's settings, as `up` hands them to the watch process.

    redis is a URL. policy_key is a file with the public key that orders must be signed with, or "";
    prices is a price book, models a file of `app.model_settings`, console one of
    `app.console_config`; each may be "".
    lab_dir is set when the cluster is the lab, twin_nodes when it is the twin; else ray_address
    is. policies is "" when none were given: then the watch observes only.
    """

    redis: str
    redis_says: str
    port: int = DEFAULT_PORT
    policies: str = ""
    policy_key: str = ""
    prices: str = ""
    models: str = ""
    console: str = ""
    autonomy: Autonomy | None = None
    lab_dir: str = ""
    ray_address: str = ""
    job_api: str = ""
    provider: str = ""
    webhook: str = ""
    lab_time: str = ""
    policy_offset_s: float = 0.0
    interval_s: float = 1.0
    twin_nodes: int = 0
    twin_gpus: int = 8
    twin_seed: int = 1
    twin_speed: float = 1.0

    def check(self, home: Home) -> None:
        """Find what is wrong before anything is started: the lab takes half a minute, a mistake
        in the command should not. Policy, home and port are checked by those who then hold them.

        Raises UsageError, JournalBroken or ClusterUnavailable.
        """
        from watchkeeper.app.lab_time import policy_offset

        if self.console:
            from watchkeeper.app.console_config import read_console

            read_console(self.console)
        if self.lab_time:
            policy_offset(self.lab_time, "UTC", datetime.now(UTC))
        if self.provider and not Path(self.provider).is_file():
            raise UsageError(f"There is no provider file at {self.provider}.")
        if self.models:
            from watchkeeper.app.model_settings import read_models

            read_models(Path(self.models))
        _journal_holds(home.journal / "journal.jsonl")
        if self.redis:
            _redis_answers(self.redis)

    def save(self, path: Path) -> None:
        path.write_bytes(msgspec.json.encode(self))

    @staticmethod
    def load(path: Path) -> Settings:
        return msgspec.json.decode(path.read_bytes(), type=Settings)


def _journal_holds(path: Path) -> None:
    from watchkeeper.adapters.journal_file import verify

    problem = verify(path).problem
    if problem:
        raise JournalBroken(
            f"The journal {path} does not hold: {problem}. Nothing acts on a broken record. Keep "
            "the file, move it aside, and see docs/operate.md, 'A broken journal'."
        )


def _redis_answers(url: str) -> None:
    from watchkeeper.adapters.redis_connection import connect, reaching

    client = connect(url)
    try:
        with reaching(url):
            client.ping()
    finally:
        client.close()
