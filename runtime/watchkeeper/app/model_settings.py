"""Which models the crew may ask, from a TOML file: read strictly, and told what is wrong and where.

No file, or no `[agents.…]` in it: everything goes by rules. Keys are never in it, only where they
are.
"""

from __future__ import annotations

import os
import stat
import tomllib
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from watchkeeper.adapters.model_langchain import LangChainModel, ModelSpec
from watchkeeper.core.errors import UsageError
from watchkeeper.core.fault import Fault
from watchkeeper_agents.models.settings import (
    AGENTS,
    BreakerSettings,
    Caps,
    Seat,
    TrustSettings,
    UseOfModels,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from watchkeeper.core.model import ModelCall
    from watchkeeper_agents.models.clerk import Run
    from watchkeeper_agents.models.reasoner import ModelReasoner

ANSWERS = ("", "json_schema", "json_object", "tool", "text")
WORKERS = 2
"""Conversations at one time. More would only queue at the server, and a burst is the rules'."""


class ModelSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """models.toml. models: name -> where it is. agents: agent -> its seat."""

    models: dict[str, ModelSpec] = {}
    agents: dict[str, Seat] = {}
    caps: Caps = Caps()
    breaker: BreakerSettings = BreakerSettings()
    trust: TrustSettings = TrustSettings()

    @property
    def use(self) -> UseOfModels:
        """The crew's part of it."""
        return UseOfModels(
            seats=self.agents, caps=self.caps, breaker=self.breaker, trust=self.trust
        )


def read_models(path: Path) -> ModelSettings:
    """Read and check models.toml. Raises UsageError, with what is wrong, where, and the mend."""
    try:
        settings = msgspec.convert(tomllib.loads(path.read_text("utf-8")), ModelSettings)
    except OSError as err:
        raise UsageError(f"{path} cannot be read: {err.strerror}.") from err
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as err:
        raise UsageError(f"{path} is no valid file of models: {err}.") from err
    for wrong in _faults(settings):
        raise UsageError(f"{path}: {wrong}")
    return settings


def _faults(settings: ModelSettings) -> Iterable[str]:
    for name, spec in settings.models.items():
        yield from (f"models.{name}: {wrong}" for wrong in _wrong_spec(spec))
    for agent, seat in settings.agents.items():
        where = f"agents.{agent}: "
        if agent not in AGENTS:
            yield f"{where}no such agent{_meant(agent, AGENTS)}. They are {', '.join(AGENTS)}."
        if seat.model not in settings.models:
            known = ", ".join(settings.models) or "none"
            meant = _meant(seat.model, settings.models)
            yield f"{where}no model is called {seat.model!r}{meant}. There are: {known}."
        for fault in seat.classes:
            if fault not in set(Fault):
                meant = _meant(fault, [f.value for f in Fault])
                yield f"{where}classes: no class of fault is called {fault!r}{meant}."
        yield from (where + w for w in _wrong_seat(seat))
    caps, breaker, trust = settings.caps, settings.breaker, settings.trust
    for per, cap in (("incident", caps.incident), ("day", caps.day)):
        if min(cap.calls, cap.tokens, cap.seconds, cap.money) < 0:
            yield f"caps.{per}: no cap is below 0."
    if breaker.failures < 1 or not 0 < breaker.pause_s <= breaker.longest_s:
        yield "breaker: failures is 1 or more, and 0 < pause_s <= longest_s."
    if trust.least < 1 or trust.wrong < 1 or not 0 <= trust.brier <= 1 or trust.newest < 1:
        yield "trust: least, wrong and newest are 1 or more, and brier lies between 0 and 1."


def _wrong_spec(spec: ModelSpec) -> Iterable[str]:
    if not spec.provider or not spec.model:
        yield "provider and model must be named."
    if spec.url and urlsplit(spec.url).scheme not in ("http", "https"):
        yield f"url must begin with http:// or https://, not {spec.url[:40]!r}."
    if spec.url and "@" in urlsplit(spec.url).netloc:
        yield "url must hold no user and password; name key_env or key_file."
    if spec.key_env and spec.key_file:
        yield "name key_env or key_file, not both."
    if spec.answer not in ANSWERS:
        yield f"answer is one of {', '.join(ANSWERS[1:])}, not {spec.answer!r}."
    if not 0 < spec.timeout_s <= 600:
        yield "timeout_s must be between 0 and 600."
    if not 0 <= spec.retries <= 5:
        yield "retries must be between 0 and 5."
    if min(spec.million_in, spec.million_out) < 0:
        yield "a price is not below 0."


def _wrong_seat(seat: Seat) -> Iterable[str]:
    if not 0 <= seat.steps <= 16:
        yield "steps must be between 0 and 16."
    if not 0 < seat.patience_s <= 600:
        yield "patience_s must be between 0 and 600."
    if not 0 <= seat.hold_s <= 86400:
        yield "hold_s must be between 0 and 86400."
    if not 16 <= seat.most_tokens <= 32_768:
        yield "most_tokens must be between 16 and 32768."


def _meant(word: str, known: Any) -> str:
    close = get_close_matches(word, list(known), 1)
    return f"; did you mean {close[0]!r}" if close else ""


def key_of(name: str, spec: ModelSpec) -> str:
    """The model's key, from where the settings say. Raises UsageError: it is not there, or others
    than its owner may read the file."""
    if spec.key_env:
        key = os.environ.get(spec.key_env, "").strip()
        if not key:
            raise UsageError(f"models.{name}: the variable {spec.key_env} is not set.")
        return key
    if not spec.key_file:
        return ""
    path = Path(spec.key_file)
    try:
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise UsageError(f"models.{name}: others may read {path}. Run `chmod 600 {path}`.")
        return path.read_text("utf-8").strip()
    except OSError as err:
        raise UsageError(f"models.{name}: {path} cannot be read: {err.strerror}.") from err


@dataclass
class Models:
    """The reasoner of a watch that asks models, and the threads that it asks on."""

    reasoner: ModelReasoner
    clients: dict[str, LangChainModel]
    pool: ThreadPoolExecutor
    use: UseOfModels
    run: Run

    @property
    def trust(self) -> TrustSettings:
        return self.use.trust

    def close(self) -> None:
        """Wait for nobody: what is still asked is heard by no one."""
        self.pool.shutdown(wait=False, cancel_futures=True)


def clients_of(settings: ModelSettings) -> dict[str, LangChainModel]:
    """A client for each model that some agent has a seat at. Raises UsageError."""
    used = {seat.model for seat in settings.agents.values()}
    return {
        name: LangChainModel(name, spec, key_of(name, spec))
        for name, spec in settings.models.items()
        if name in used
    }


def models_of(settings: ModelSettings, past: Iterable[ModelCall]) -> Models | None:
    """What the settings ask for; None where no agent has a seat. past: calls in the record, so that
    a restart refills no cap. Raises UsageError."""
    from watchkeeper_agents.models.reasoner import ModelReasoner

    if not settings.agents:
        return None
    clients = clients_of(settings)
    pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="model")

    def run(work: Any) -> Future[Any]:
        return pool.submit(work)

    return Models(ModelReasoner(settings.use, clients, run, past), clients, pool, settings.use, run)
