"""What the simulated morning shows beyond its board: the map, an hour of each GPU, policy, agents,
forecasts held to what came. Pure; simulated."""

from __future__ import annotations

import math
from collections import defaultdict
from datetime import datetime, timedelta

from watchkeeper.console.words import GPU_STATES
from watchkeeper.core.cells import (
    NODE_STATES,
    Block,
    FleetCells,
    FleetLayout,
    Grouping,
    Shade,
    Trace,
)
from watchkeeper.core.desk import Board, GpuView, LogLine, NodeView
from watchkeeper.core.report import Ending
from watchkeeper.core.views import (
    AgentView,
    Bin,
    FanView,
    Foreseen,
    JournalCheck,
    KindRecord,
    PolicyView,
    RuleView,
    Spoken,
    TrustClass,
    TrustKind,
    TrustView,
    WindowView,
    Wrong,
)
from watchkeeper.core.word import digest


def _blocks(board: Board, by: Grouping) -> list[tuple[str, list[NodeView]]]:
    domain = {"rack": "rack", "nvlink": "nvlink_domain", "pool": "pool"}[by]
    found: dict[str, list[NodeView]] = defaultdict(list)
    for node in board.nodes:
        found[getattr(node, domain)].append(node)
    return [(name, sorted(found[name], key=lambda n: n.name)) for name in sorted(found)]


def layout(board: Board, by: Grouping) -> FleetLayout:
    blocks = tuple(
        Block(r=name, n=tuple(n.name for n in here), g=tuple(len(n.gpus) for n in here))
        for name, here in _blocks(board, by)
    )
    return FleetLayout(key=digest([by, blocks])[:16], by=by, blocks=blocks)


def cells(board: Board, shade: Shade, by: Grouping) -> FleetCells:
    nodes = [node for _, here in _blocks(board, by) for node in here]
    ill = sorted((n for n in nodes if n.state != "healthy"), key=lambda n: (n.rank, n.name))
    return FleetCells(
        key=layout(board, by).key,
        at=board.at,
        shade=shade,
        low=30.0 if shade is Shade.TEMPERATURE else 0.0,
        high=95.0 if shade is Shade.TEMPERATURE else 100.0,
        unit={"temperature": "°C"}.get(shade, "%"),
        s="".join(NODE_STATES.get(n.state, "u") for n in nodes),
        g="".join(_cell(gpu, shade) for n in nodes for gpu in n.gpus),
        what={n.name: n.what for n in ill[:40]},
        simulated=True,
    )


def _cell(gpu: GpuView, shade: Shade) -> str:
    if gpu.state in GPU_STATES:
        return GPU_STATES[gpu.state]
    if shade is Shade.HEALTH:
        return "5"
    if shade is Shade.FORECAST:
        return "8"
    value = {
        Shade.UTILIZATION: gpu.utilization,
        Shade.TEMPERATURE: None if gpu.temperature is None else (gpu.temperature - 30) / 0.65,
        Shade.POWER: None if gpu.power_watts is None else gpu.power_watts / 7,
    }[shade]
    return "." if value is None else str(min(9, max(0, int(value // 10))))


def trace(node: NodeView, at: datetime) -> Trace:
    """An hour of gentle waves; what is lost now was read until a quarter of an hour ago."""
    ago = tuple(3600.0 - 30.0 * i for i in range(121))

    def wave(gpu: GpuView, middle: float, swing: float) -> tuple[float | None, ...]:
        lost = gpu.state != "ok"
        return tuple(
            None
            if lost and a < 900
            else round(middle + swing * math.sin(a / 300 + gpu.index) + (a % 7), 1)
            for a in ago
        )

    return Trace(
        node=node.name,
        ago_s=ago,
        utilization=tuple(wave(g, 70, 20) for g in node.gpus),
        temperature=tuple(wave(g, 58, 6) for g in node.gpus),
        power=tuple(wave(g, 420, 80) for g in node.gpus),
        since=at - timedelta(hours=1),
    )


def policy(board: Board) -> PolicyView:
    at = board.at
    return PolicyView(
        at=at,
        version=board.health.policy_version,
        loaded_at=board.policy_loaded_at,
        error=board.policy_error,
        warnings=(),
        files={"policies/day.yaml": "0f3a9c1d22b7", "policies/night.yaml": "77ab10c4e9f0"},
        windows=(
            WindowView(
                "day", True, "open until 22:00 Europe/Berlin (21:00Z)", "policies/day.yaml:9"
            ),
            WindowView("night", False, "opens at 22:00 Europe/Berlin", "policies/night.yaml:8"),
        ),
        rules=(
            RuleView(
                id="hands-off-the-demo",
                effect="deny",
                actions=("*",),
                where="policies/day.yaml:60",
                open=True,
                when='"reserved-for" in node.labels && node.labels["reserved-for"] == "demo"',
                enforcement="soft",
                lifted_by=("EX-7",),
            ),
            RuleView(
                id="day-restart-asks",
                effect="ask",
                actions=("node.cordon", "node.drain", "node.restart"),
                where="policies/day.yaml:41",
                open=True,
                during=("day",),
                when="incident.confidence >= 0.9 && evidence.independent_sources >= 2",
                who="1 person of oncall, within 15 min",
                reason="By day a restart of a node asks.",
            ),
            RuleView(
                id="night-restart",
                effect="allow",
                actions=("node.restart",),
                where="policies/night.yaml:23",
                open=False,
                during=("night",),
            ),
            RuleView(
                id="cap-power-when-hot",
                effect="allow",
                actions=("gpu.power_cap",),
                where="policies/day.yaml:80",
                open=True,
                shadow=True,
            ),
        ),
        limits=board.limits,
        endings=(
            Ending(
                id="EX-7",
                kind="exception",
                text="EX-7 lifts hands-off-the-demo; ml-platform, OPS-112: the demo moved.",
                until=at + timedelta(hours=40),
                soon=True,
                where="policies/day.yaml:70",
            ),
        ),
        shadow=board.shadow or {"allow_to_deny": 3},
        people={"oncall": ("ann", "bob"), "platform": ("bob",)},
    )


TRUST = (
    TrustView(
        agent="remediation",
        model="large (made up)",
        kinds=(
            TrustKind(
                kind="node.restart", results=22, true=0.9545, brier=0.041,
                bars=(Spoken(said=0.72, true=0.75, of=4), Spoken(said=0.95, true=1.0, of=18)),
            ),
            TrustKind(
                kind="node.drain", results=9, true=0.5556, brier=0.31,
                bars=(Spoken(said=0.55, true=1.0, of=2), Spoken(said=0.92, true=0.4286, of=7)),
            ),
        ),
        classes=(
            TrustClass(
                fault="gpu_memory", results=9, true=0.5556, low=0.2667, brier=0.31, seconds=4.2,
                money=0.02, decides="rules",
                why="its last 3 words on this class were sure and wrong",
                wrong=(
                    Wrong(ago_s=900.0, kind="node.drain", confidence=0.93),
                    Wrong(ago_s=4000.0, kind="node.drain", confidence=0.9),
                    Wrong(ago_s=9000.0, kind="node.drain", confidence=0.95),
                ),
            ),
            TrustClass(
                fault="node_lost", results=22, true=0.9545, low=0.7821, brier=0.041, seconds=3.1,
                money=0.02, decides="model", why="95% of 22 came true, Brier 0.04",
                draft="trust-remediation-on-node-lost.yaml",
            ),
        ),
    ),
    TrustView(
        agent="remediation",
        model="rules",
        kinds=(),
        classes=(
            TrustClass(
                fault="gpu_memory", results=14, true=0.9286, low=0.6853, brier=0.07, seconds=0.0,
                money=0.0, decides="rules", why="",
            ),
        ),
    ),
)  # fmt: skip


def agents(lines: tuple[LogLine, ...]) -> tuple[AgentView, ...]:
    bins = (Bin(0.0, 0.5, 1, 0), Bin(0.5, 0.7, 3, 2), Bin(0.7, 0.8, 4, 3), Bin(0.8, 0.9, 9, 8))
    told = tuple(line for line in reversed(lines) if line.proposal)[:3]
    remediation = AgentView(
        name="agent:remediation",
        proposed=31,
        allowed=19,
        asked=9,
        refused=3,
        approved=7,
        turned_down=1,
        recovered=23,
        failed=3,
        brier=0.081,
        bins=(*bins, Bin(0.9, 1.0, 9, 9)),
        kinds=(
            KindRecord("node.cordon", 9, 9, 0, 0.012),
            KindRecord("node.drain", 8, 7, 1, 0.11),
            KindRecord("node.restart", 8, 7, 2, 0.13),
        ),
        gpu_hours=14.2,
        cost="26 of them carried out, 14.2 GPU-hours of work lost or held.",
        last=told,
        trust=TRUST,
    )
    planner = AgentView(
        name="agent:planner",
        proposed=0,
        allowed=0,
        asked=0,
        refused=0,
        approved=0,
        turned_down=0,
        recovered=0,
        failed=0,
        brier=None,
        bins=(),
        kinds=(),
        gpu_hours=0.0,
        cost="Nothing of it was carried out.",
    )
    return remediation, planner


def fans(at: datetime) -> tuple[FanView, ...]:
    held = []
    for i in range(42):  # the last of them is now
        when = at + timedelta(minutes=10 * (i - 41))
        middle = 24 + 6 * math.sin(i / 7)
        came = middle + 2.4 * math.sin(i * 1.7) + (9 if i == 20 else 0)
        held.append(Foreseen(when, middle - 3, middle, middle + 4, came))
    return (FanView("train", 3600.0, tuple(held)),)


def check(at: datetime, seq: int, head: str) -> JournalCheck:
    return JournalCheck(at=at, events=seq, seq=seq, head=head, problem="", took_s=0.02,
                        against=f"the head at {seq} that Redis keeps")  # fmt: skip
