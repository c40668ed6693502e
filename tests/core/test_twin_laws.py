"""The twin's laws: each figure has a source, and what is drawn from them is what was published."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest

from watchkeeper.core.action import KINDS
from watchkeeper.core.incident import ATTACKER_WRITABLE
from watchkeeper.health.catalogue import sxid, xid
from watchkeeper.twin.faults import draw_faults
from watchkeeper.twin.laws import (
    CODES,
    PERSON,
    TABLE5_NODE_DAYS,
    TABLE5_TOTAL,
    by_name,
    instrument,
    laws,
)
from watchkeeper.twin.words import FaultLaw, Hurt, Scope, TwinSpec

# Llama 3 Herd of Models, Table 5: 16,384 GPUs, 54 days.
TABLE5 = {
    "faulty_gpu_incl_nvlink": 148,
    "gpu_hbm": 72,
    "software_bug": 54,
    "network_switch_cable": 35,
    "host_maintenance_unplanned": 32,
    "gpu_sram": 19,
    "gpu_system_processor": 17,
    "nic": 7,
    "nccl_watchdog_unknown": 7,
    "silent_data_corruption": 6,
    "gpu_thermal_interface_sensor": 6,
    "ssd": 3,
    "power_supply": 3,
    "chassis": 2,
    "io_expansion_board": 2,
    "dependency": 2,
    "cpu": 2,
    "system_memory": 2,
}
PUBLISHED = tuple(law for law in laws() if law.published)
SEEDS = range(40)


def expected(law: FaultLaw) -> float:
    """Faults of a class in the published window."""
    return law.rate_per_node_day * TABLE5_NODE_DAYS


def share(weigh: object) -> float:
    """Mean over the published faults of what a class says of itself."""
    assert callable(weigh)
    return sum(weigh(law) * expected(law) for law in PUBLISHED) / TABLE5_TOTAL


@pytest.fixture(scope="module")
def counts() -> Counter[str]:
    """Faults by class over all seeds, each of the published fleet and time."""
    drawn: Counter[str] = Counter()
    for seed in SEEDS:
        drawn.update(f.law for f in draw_faults(TwinSpec(seed=seed, nodes=2048, days=54.0), laws()))
    return drawn


def test_the_rates_of_each_published_row_add_up_to_its_count() -> None:
    found: Counter[str] = Counter()
    for law in PUBLISHED:
        found[law.published] += expected(law)
    assert sum(TABLE5.values()) == TABLE5_TOTAL == 419
    assert set(found) == set(TABLE5)
    for row, count in TABLE5.items():
        assert found[row] == pytest.approx(count, rel=1e-3), row


def test_all_causes_together_come_as_often_as_published() -> None:
    assert sum(law.rate_per_node_day for law in PUBLISHED) == pytest.approx(3.789e-3, rel=1e-3)


@pytest.mark.parametrize("row", TABLE5)
def test_the_drawn_mix_is_the_published_one(row: str, counts: Counter[str]) -> None:
    got = sum(counts[law.name] for law in PUBLISHED if law.published == row)
    mean = TABLE5[row] * len(SEEDS)
    assert abs(got - mean) < 4 * math.sqrt(mean), f"{row}: {got} for {mean}"


def test_the_drawn_total_is_the_published_one(counts: Counter[str]) -> None:
    got = sum(counts[law.name] for law in PUBLISHED)
    mean = TABLE5_TOTAL * len(SEEDS)
    assert abs(got - mean) < 4 * math.sqrt(mean), f"{got} for {mean}"


def test_what_lies_beyond_the_table_and_hurts_adds_a_fortieth_at_most() -> None:
    beyond = sum(
        expected(law) for law in laws() if not law.published and law.hurts is not Hurt.NOTHING
    )
    assert 0 < beyond < TABLE5_TOTAL / 40


def test_about_an_eighth_of_faults_is_silent() -> None:
    assert 0.12 <= share(lambda law: law.silent) <= 0.15


def test_about_three_in_ten_first_symptoms_mislead() -> None:
    assert 0.28 <= share(lambda law: law.misleads) <= 0.32


def test_three_to_five_percent_of_faults_bring_a_second_code() -> None:
    assert 0.03 <= share(lambda law: law.co_chance) <= 0.05


def test_about_seven_in_ten_end_by_a_retry_or_a_reset() -> None:
    soft = ("job.requeue", "gpu.reset")
    cured = share(lambda law: 1.0 if law.cured_by[0] in soft else law.transient)
    assert 0.67 <= cured <= 0.73


def test_silent_faults_show_no_code_of_a_driver() -> None:
    for law in laws():
        seen = {instrument(code).seen for code in law.shows}
        assert (seen == {"progress"}) == law.silent, law.name


@pytest.mark.parametrize("law", laws(), ids=lambda law: law.name)
def test_each_class_names_where_its_figures_come_from(law: FaultLaw) -> None:
    assert law.source or law.assumed
    assert bool(law.source) or not law.published, "a published row names its publication"
    assert law.assumed, "every class assumes something, and says what"


@pytest.mark.parametrize("law", laws(), ids=lambda law: law.name)
def test_each_class_speaks_in_codes_that_can_be_looked_up(law: FaultLaw) -> None:
    for code in (*law.shows, *law.misleading, *law.co_shows):
        family, _, number = code.partition(".")
        if family in ("xid", "sxid"):
            row = xid(int(number)) if family == "xid" else sxid(int(number))
            assert row.known, f"{code} is in no table"
        assert instrument(code).trust not in ATTACKER_WRITABLE


@pytest.mark.parametrize("law", laws(), ids=lambda law: law.name)
def test_each_class_is_cured_by_something_that_exists(law: FaultLaw) -> None:
    assert set(law.cured_by) <= {*KINDS, PERSON}
    assert law.manual_repair_h > 0
    if law.hurts is Hurt.SLOWS:
        assert 0 < law.slowdown < 1
    else:
        assert law.slowdown == 1


TRAPS = {
    "off the bus is cured by no reset": ("gpu_off_bus", "gpu.reset", False),
    "firmware that fell silent wants a reboot": ("gsp_timeout", "gpu.reset", False),
    "a contained error wants its one job restarted": ("hbm_contained", "job.requeue", True),
    "a failed remap is the vendor's": ("hbm_remap_failure", "node.reboot", False),
    "a program's bug is cured by nothing done to a node": ("software_crash", "node.reboot", False),
    "a raylet's end wants a raylet": ("raylet_lost", "node.restart", True),
}


@pytest.mark.parametrize(("name", "kind", "cures"), TRAPS.values(), ids=list(TRAPS))
def test_the_known_traps_are_laws(name: str, kind: str, cures: bool) -> None:
    assert (kind in by_name()[name].cured_by) is cures


def test_what_takes_a_domain_is_cured_by_people_alone() -> None:
    for law in laws():
        if law.scope not in (Scope.GPU, Scope.NODE, Scope.JOB):
            assert law.cured_by == (PERSON,), law.name


def test_every_listed_code_belongs_to_some_law() -> None:
    spoken = {c for law in laws() for c in (*law.shows, *law.misleading, *law.co_shows)}
    assert set(CODES) <= spoken


PAGE = (Path(__file__).parents[2] / "docs" / "twin.md").read_text("utf-8")


@pytest.mark.parametrize("law", laws(), ids=lambda law: law.name)
def test_the_page_tells_of_each_class_what_the_table_holds(law: FaultLaw) -> None:
    cells = (
        f"`{law.name}`",
        law.published.replace("_", " ") or "–",
        f"{expected(law):.3g}",
        law.scope.value,
        law.hurts.value + (" (silent)" if law.silent else ""),
        ", ".join(law.shows),
        ", ".join(law.cured_by),
    )
    assert f"| {' | '.join(cells)} |" in PAGE.splitlines()
