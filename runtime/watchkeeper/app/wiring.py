"""Every constructor, once: from settings to a running watch, for each world."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from watchkeeper.adapters.apart_fanout import ApartFanout, RayAt
from watchkeeper.adapters.case_file import CaseFile
from watchkeeper.adapters.journal_file import FileJournal
from watchkeeper.adapters.notify import Notify
from watchkeeper.adapters.redis_checkpoints import RedisCheckpoints
from watchkeeper.adapters.redis_mirror import RedisMirror
from watchkeeper.adapters.redis_telemetry import RedisTelemetry
from watchkeeper.adapters.redis_urgent import UrgentSignals
from watchkeeper.adapters.reservation_book import Keeping, ReservationBook
from watchkeeper.adapters.shadow_file import ShadowFiles
from watchkeeper.adapters.stop_file import FileStop
from watchkeeper.adapters.system_clock import SystemClock, SystemIds, boot_id
from watchkeeper.adapters.token_file import TokenFile
from watchkeeper.app.cluster_wiring import ClusterPorts, lab_ports, real_ports, twin_ports
from watchkeeper.app.console_config import read_console
from watchkeeper.app.journal_check import checker
from watchkeeper.app.money_source import read_prices
from watchkeeper.app.policy_source import policy_source
from watchkeeper.app.settings import Home, Settings
from watchkeeper.app.trusted import views_of
from watchkeeper.app.twin_live import TwinTime
from watchkeeper.capacity.meter import Meter
from watchkeeper.control.desk import WatchDesk
from watchkeeper.control.execute import Executor
from watchkeeper.control.foresee import BackgroundForecaster, Series
from watchkeeper.control.look import Looker
from watchkeeper.control.loop import Loop
from watchkeeper.control.metering import end_metering
from watchkeeper.control.policy_shelf import Shelf
from watchkeeper.control.record import Record
from watchkeeper.control.tell import Teller
from watchkeeper.control.watch import Watch
from watchkeeper.core.cluster import World
from watchkeeper.core.event import Kind
from watchkeeper.core.forecast import Forecast
from watchkeeper.core.ports import Actuator
from watchkeeper.core.verdict import Autonomy
from watchkeeper.demand.choose import KeptChoices
from watchkeeper.demand.reserve import Reservation
from watchkeeper.health.sense import LAB, REAL
from watchkeeper.placement.running import Terms
from watchkeeper.remedy.plan import RemedySettings
from watchkeeper.twin.rehearse import TwinRehearsal
from watchkeeper_agents.chat import answer_from
from watchkeeper_agents.chat_orders import offered, order_of
from watchkeeper_agents.chat_past import suggestions
from watchkeeper_agents.crew import LangGraphCrew
from watchkeeper_agents.words import CrewSettings

if TYPE_CHECKING:
    from watchkeeper.app.model_settings import Models
    from watchkeeper.control.chatting import Drafter
    from watchkeeper_agents.models.talking import Talker

LAB_REMEDY = RemedySettings(
    linger_s=10.0, drain_deadline_s=20.0, settle_s=6.0, silent_after_s=15.0, ray_limit_s=15.0
)
"""The lab's pace: gangs of toys need no minute to end, and its telemetry comes every 2 s."""

LAB_CREW = CrewSettings(
    remedy=LAB_REMEDY,
    provision_s=10.0,
    terms=Terms(least_runtime_s=20.0, restart_s=10.0),
    grow_after_s=120.0,
)
"""A raylet comes within seconds there, and a gang of toys is at work again in ten."""


@dataclass
class Running:
    """A watch that is put together; `loop` is not started yet."""

    watch: Watch
    desk: WatchDesk
    loop: Loop
    journal: FileJournal
    ports: ClusterPorts
    forecaster: BackgroundForecaster
    urgent: UrgentSignals
    book: ReservationBook
    models: Models | None = None

    def start(self) -> None:
        """Begin turns, and let what is urgent wake them."""
        self.loop.start()
        self.urgent.start()

    def close(self) -> None:
        """End the loop, let go of Ray and Redis, make the journal durable."""
        self.urgent.close()
        self.loop.stop()
        self.forecaster.close()
        if self.models is not None:
            self.models.close()
        self.ports.close()
        with contextlib.suppress(Exception):
            end_metering(self.watch)
            self.watch.record.write(Kind.WATCH_STOPPED, text="The watch ends.")
        self.journal.close()


def build(settings: Settings, home: Home) -> Running:
    """Put one watch together. Raises JournalBroken, AlreadyRunning, PolicyError, UsageError,
    ClusterUnavailable."""
    clock = (
        TwinTime(settings.twin_speed)
        if settings.twin_nodes
        else SystemClock(timedelta(seconds=settings.policy_offset_s))
    )
    journal = FileJournal(home.journal, clock)
    _go_on_counting(clock, journal)
    record = Record(journal)
    ids = SystemIds()
    for prefix, number in record.books.ids.items():
        ids.resume(prefix, number)
    ports = _ports(settings, clock)
    mirror = RedisMirror(settings.redis, ports.cluster, clock=clock, step_s=10.0)
    telemetry = ports.telemetry or RedisTelemetry(
        settings.redis, ports.cluster, ports.world, clock=clock
    )
    book = ReservationBook(home.reservations, ports.cluster, clock)
    keeping = Keeping(ports.reader, book, clock)
    looker = Looker(keeping, telemetry, clock)
    shelf = Shelf(policy_source(settings), clock.now(), record.books.policy_files)
    stop = FileStop(home.stop_file, clock)
    executor = Executor(
        record=record,
        actuators=by_kind((*ports.actuators, book)),
        stop=stop,
        look=looker.look,
        policy=shelf.current,
        clock=clock,
    )
    forecaster = _forecaster(settings, mirror, ShadowFiles(home.shadow, ports.cluster), keeping)
    in_lab = ports.world is World.LAB
    crew = LAB_CREW if in_lab else CrewSettings()
    models = _models(settings, record)
    watch = Watch(
        record=record,
        looker=looker,
        crew=LangGraphCrew(
            reasoner=models.reasoner if models is not None else None,
            saver=RedisCheckpoints(settings.redis, ports.cluster),
            settings=crew,
        ),
        executor=executor,
        teller=Teller(Notify(home.pages, settings.webhook or None, clock), record),
        mirror=mirror,
        stop=stop,
        policies=shelf,
        forecaster=forecaster,
        clock=clock,
        ids=ids,
        world=ports.world,
        sense=LAB if in_lab else REAL,
        console_url=read_console(settings.console).public_url
        or f"http://127.0.0.1:{settings.port}",
        meter=Meter(),
        rehearsal=TwinRehearsal() if models is not None else None,
        believed=partial(views_of, settings=models.trust if models is not None else None),
    )
    loop = Loop(watch, settings.interval_s)
    thinker = _thinker(models)
    desk = WatchDesk(
        watch,
        waiter=journal,
        wake=loop.wake,
        answerer=answer_from,
        suggester=lambda board: (*suggestions(board), *offered(board)),
        reader=order_of,
        thinker=thinker,
        drafter=_drafter(settings, journal, clock, thinker),
        redis_name=settings.redis_says,
        lab_time=settings.lab_time,
        book=read_prices(Path(settings.prices) if settings.prices else None),
        cases=CaseFile(home.eval_cases),
        terms=crew.terms,
        verify=checker(journal.path, home, clock),
    )
    _begin(record, settings, ports, journal)
    urgent = UrgentSignals(settings.redis, ports.cluster, loop.wake)
    return Running(watch, desk, loop, journal, ports, forecaster, urgent, book, models)


def _models(settings: Settings, record: Record) -> Models | None:
    """The models that the crew may ask; None where none are configured: rules alone."""
    if not settings.models:
        return None
    from watchkeeper.app.model_settings import models_of, read_models

    return models_of(read_models(Path(settings.models)), record.books.model_calls)


def _thinker(models: Models | None) -> Talker | None:
    """The model in the chat's seat, where there is one."""
    if models is None:
        return None
    from watchkeeper.app.chat_models import talker_of

    return talker_of(models)


def _drafter(
    settings: Settings, journal: FileJournal, clock: SystemClock, thinker: Talker | None
) -> Drafter | None:
    """Drafts policy from a sentence, over this watch's own folder and record."""
    source = policy_source(settings)
    if source is None:
        return None
    from watchkeeper.app.policy_draft import drafter_of, newest
    from watchkeeper_agents.models.drafting import writer

    return drafter_of(
        source.read,
        lambda: newest(journal),
        clock.policy_now,
        writer(thinker, clock.steady) if thinker is not None else None,
        thinker.name if thinker is not None else "",
    )


def _forecaster(
    settings: Settings, mirror: RedisMirror, shadow: ShadowFiles, keeping: Keeping
) -> BackgroundForecaster:
    """Where a cluster was given, many series are learned together as Ray tasks over there."""
    kept = KeptChoices(keeper=shadow)

    def forecast(name: str, series: Series, at: datetime) -> Forecast:
        return kept.forecast(name, series, at, [Reservation(*r) for r in keeping.gpus(name)])

    if not settings.ray_address:
        return BackgroundForecaster(mirror.demand_series, forecast)
    ray = ApartFanout(RayAt(settings.ray_address), f"Ray at {settings.ray_address}")
    return BackgroundForecaster(
        mirror.demand_series,
        forecast,
        learn=lambda series, at: kept.learn_many(series, at, ray),
    )


def _ports(settings: Settings, clock: SystemClock) -> ClusterPorts:
    if isinstance(clock, TwinTime):
        return twin_ports(settings, clock)
    return lab_ports(settings, clock) if settings.lab_dir else real_ports(settings, clock)


def by_kind(actuators: tuple[Actuator, ...]) -> Mapping[str, Actuator]:
    """The one provider of each kind of action; the first that serves it wins."""
    table: dict[str, Actuator] = {}
    for actuator in actuators:
        for kind in sorted(actuator.serves):
            table.setdefault(kind, actuator)
    return table


def _boot_s() -> float:
    """Seconds on the clock that nobody can step, while this boot lasts."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


def _go_on_counting(clock: SystemClock, journal: FileJournal) -> None:
    """Let the ledger's clock go on from where the journal ended (S28). Within one boot exactly;
    across boots by the wall clock, never backwards."""
    started = last = None
    for event in journal.events():
        last = event
        if event.kind is Kind.WATCH_STARTED:
            started = event
    if last is None:
        return
    if isinstance(clock, TwinTime):
        clock.not_before(last.at)
    base = last.steady + max(0.0, (clock.now() - last.at).total_seconds())
    if started is not None and started.data.get("boot_id") == boot_id() != "":
        since = _boot_s() - float(started.data.get("boot_s", 0.0))
        base = max(last.steady, started.steady + since)
    clock.rebase(base)


def _begin(record: Record, settings: Settings, ports: ClusterPorts, journal: FileJournal) -> None:
    world = ports.world.value
    notes = [f"The watch begins over {ports.cluster} ({world})."]
    if journal.set_aside:
        notes.append(f"{journal.set_aside}.")
    if settings.lab_time:
        notes.append(f"Policy windows see {settings.lab_time}.")
    record.write(
        Kind.WATCH_STARTED,
        text=" ".join(notes),
        boot_id=boot_id(),
        boot_s=_boot_s(),
        cluster=ports.cluster,
        world=world,
        lab_time=settings.lab_time,
        durable=True,
    )
    wanted = settings.autonomy
    if wanted is None and not _dial_was_set(record):
        wanted = Autonomy.OBSERVE if ports.world is World.REAL else Autonomy.AUTO
    if wanted is not None and not settings.policies:
        wanted = Autonomy.OBSERVE
    if wanted is not None and wanted is not record.books.orders.autonomy:
        record.write(Kind.AUTONOMY, by="up", level=wanted.value, durable=True)


def _dial_was_set(record: Record) -> bool:
    """A person's setting outlives a restart."""
    return any(e.kind is Kind.AUTONOMY for e in record.journal.events())


def door_calls(running: Running, tokens: TokenFile | None = None) -> dict[str, Callable[..., Any]]:
    """What the command line may ask of a running watch. tokens: of its console."""
    from watchkeeper.app.door_calls import calls
    from watchkeeper.app.token_calls import token_calls
    from watchkeeper.app.trusted import trust_of

    watch, ports = running.watch, running.ports
    table = calls(
        running.desk, running.loop.wake, ports.inject, watch.record, watch.console_url,
        ports.admission, running.book.give_up,
    )  # fmt: skip
    believed = running.models.trust if running.models is not None else None
    table["trust"] = lambda: trust_of(watch.record.books, watch.clock.steady(), believed)
    if tokens is not None:
        table |= token_calls(running.desk, watch.record, tokens)
    return table
