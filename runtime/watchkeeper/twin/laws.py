"""The laws of the twin: which faults there are, how often, and what they look like.

Asked once for each run. The table is data/fault_laws.csv: derived, not vendor guidance. Each rate
names its published source, or says what was assumed (docs/twin.md). Never draws anything.
"""

from __future__ import annotations

import csv
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from watchkeeper.core.action import KINDS
from watchkeeper.core.errors import Bug
from watchkeeper.core.incident import Trust
from watchkeeper.twin.words import FaultLaw, Hurt, Scope

PERSON = "person"
"""In `cured_by`: only hands end it."""

TABLE5_NODE_DAYS = 16384 / 8 * 54
TABLE5_TOTAL = 419
"""Llama 3 Herd of Models, Table 5: unexpected interruptions of 16,384 GPUs in 54 days."""


class Instrument(NamedTuple):
    """Who says a code. source and trust as in `Signal`. seen: `line` (told once, by a log or a
    counter), `state` (sensed from Ray's or the driver's columns) or `progress` (inferred from the
    gang's own steps; no instrument says it)."""

    source: str
    trust: Trust
    seen: str
    means: str


CODES: dict[str, Instrument] = {
    "node.dead": Instrument("ray", Trust.RAY, "state", "Ray declared the node dead"),
    "node.process_gone": Instrument("provider", Trust.PROVIDER, "state", "no raylet process"),
    "node.silent": Instrument("telemetry", Trust.RAY, "state", "no telemetry"),
    "gpu.lost": Instrument("gpu-driver", Trust.DRIVER, "state", "the driver lost the GPU"),
    "job.stopped": Instrument("ray", Trust.SCHEDULER, "state", "a gang stopped"),
    "node.flap": Instrument("ray", Trust.RAY, "line", "the raylet left and came back"),
    "nic.down": Instrument("kernel-log", Trust.KERNEL, "line", "a network adapter is down"),
    "ib.link_down": Instrument("ib-counters", Trust.DRIVER, "line", "link_downed counted up"),
    "ib.symbol_errors": Instrument("ib-counters", Trust.DRIVER, "line", "over 120 symbol errors/h"),
    "pcie.width": Instrument("gpu-driver", Trust.DRIVER, "line", "width or speed below its most"),
    "pcie.aer": Instrument("kernel-log", Trust.KERNEL, "line", "an error by AER"),
    "gpu.thermal": Instrument("gpu-driver", Trust.DRIVER, "line", "slowed down by heat"),
    "gpu.power_brake": Instrument("gpu-driver", Trust.DRIVER, "line", "slowed by the power brake"),
    "ecc.dbe": Instrument("gpu-driver", Trust.DRIVER, "line", "uncorrectable errors counted up"),
    "ecc.remap_pending": Instrument("gpu-driver", Trust.DRIVER, "line", "a remap waits for reset"),
    "ecc.remap_failure": Instrument("gpu-driver", Trust.DRIVER, "line", "a row remap failed"),
    "nvlink.errors": Instrument("gpu-driver", Trust.DRIVER, "line", "recovery or CRC errors"),
    "storage.stall": Instrument("kernel-log", Trust.KERNEL, "line", "a mount does not answer"),
    "gang.hang": Instrument("progress", Trust.SCHEDULER, "progress", "no step, and no end"),
    "gang.slow": Instrument("progress", Trust.SCHEDULER, "progress", "steps slower than its own"),
    "gang.nan": Instrument("progress", Trust.SCHEDULER, "progress", "loss or gradient far off"),
}
"""Every code of the laws that is no Xid or SXid. No driver ever says a `gang.*` code."""

XID = Instrument("kernel-log", Trust.KERNEL, "line", "the driver's line in the kernel log")
SXID = Instrument("kernel-log", Trust.KERNEL, "line", "the switch driver's line")


def instrument(code: str) -> Instrument:
    """Who says this code. Raises KeyError for a code that is in no law."""
    family, _, number = code.partition(".")
    if number.isdigit() and family in ("xid", "sxid"):
        return XID if family == "xid" else SXID
    return CODES[code]


@cache
def laws() -> tuple[FaultLaw, ...]:
    """Every class, in the table's order, which draws depend on. Raises Bug for a bad table."""
    text = files("watchkeeper.twin").joinpath("data", "fault_laws.csv").read_text("utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    table = tuple(_law(row) for row in rows)
    if len({law.name for law in table}) < len(table):
        raise Bug("fault_laws.csv names one class twice.")
    return table


@cache
def by_name() -> dict[str, FaultLaw]:
    """The same by name."""
    return {law.name: law for law in laws()}


def _law(row: dict[str, str]) -> FaultLaw:
    try:
        law = FaultLaw(
            name=row["name"],
            scope=Scope(row["scope"]),
            rate_per_node_day=float(row["rate_per_node_day"]),
            hurts=Hurt(row["hurts"]),
            shows=_many(row["shows"]),
            cured_by=_many(row["cured_by"]),
            source=row["source"],
            silent=row["silent"] == "1",
            assumed=row["assumed"],
            misleads=_share(row["misleads"]),
            misleading=_many(row["misleading"]),
            transient=_share(row["transient"]),
            relapse=_share(row["relapse"]),
            slowdown=_share(row["slowdown"]),
            co_shows=_many(row["co_shows"]),
            co_chance=_share(row["co_chance"]),
            watchdog_s=float(row["watchdog_s"]),
            manual_repair_h=float(row["manual_repair_h"]),
            kills_raylet=row["kills_raylet"] == "1",
            published=row["published"],
            transient_s=float(row["transient_s"]),
        )
        _check(law)
    except (KeyError, ValueError) as err:
        raise Bug(f"fault_laws.csv, class {row.get('name')!r}: {err}") from err
    return law


def _check(law: FaultLaw) -> None:
    for code in (*law.shows, *law.misleading, *law.co_shows):
        instrument(code)
    for cure in law.cured_by:
        if cure != PERSON and cure not in KINDS:
            raise ValueError(f"{cure!r} is no kind of action")
    if law.rate_per_node_day < 0 or not law.shows or not law.cured_by:
        raise ValueError("it needs a rate, a symptom and a cure")
    if bool(law.misleads) != bool(law.misleading) or bool(law.co_chance) != bool(law.co_shows):
        raise ValueError("a chance of a symptom goes with the symptoms, and the reverse")
    if not (law.source or law.assumed):
        raise ValueError("it names neither a source nor an assumption")


def _many(cell: str) -> tuple[str, ...]:
    return tuple(cell.split("|")) if cell else ()


def _share(cell: str) -> float:
    value = float(cell)
    if not 0 <= value <= 1:
        raise ValueError(f"{cell} is no share of one")
    return value
