"""One simulated morning in a lab of four nodes: what FakeDesk shows. Plain words, no behaviour."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from watchkeeper.core.action import CheckRun, NodeCordon, NodeDrain, NodeRestart, PoolScale
from watchkeeper.core.cluster import World
from watchkeeper.core.desk import (
    Ask,
    AskStatus,
    Board,
    GpuView,
    Health,
    JobView,
    LimitView,
    LogLine,
    NodeView,
    PoolView,
    Shown,
    Story,
    StoryStep,
)
from watchkeeper.core.event import GENESIS
from watchkeeper.core.incident import (
    Hypothesis,
    HypothesisStatus,
    Incident,
    IncidentState,
    Signal,
    Trust,
)
from watchkeeper.core.proposal import Effect, Impact, Proposal
from watchkeeper.core.verdict import Autonomy, Decision, Obligations, Orders, Reason, Verdict
from watchkeeper.core.word import digest

POLICY = "sim-policy-1a2b3c"
RULE = "policies/day.yaml:41"
SICK = "train-02"
INCARNATION = "6f1c0a7e42d94b"


def signals(at: datetime) -> tuple[Signal, ...]:
    """Two instruments that agree, and a job's own words that count for nothing."""
    begun = at - timedelta(minutes=4)

    def one(n: int, code: str, source: str, trust: Trust, raw: str) -> Signal:
        return Signal(
            id=f"S-{n}",
            code=code,
            target=f"gpu:{SICK}/3",
            at=begun + timedelta(seconds=n),
            source=source,
            trust=trust,
            world=World.LAB,
            incarnation=INCARNATION,
            simulated=True,
            raw=raw,
        )

    return (
        one(
            1,
            "xid.79",
            "kernel-log",
            Trust.KERNEL,
            "NVRM: Xid (PCI:0000:41:00): 79, GPU has fallen off the bus.",
        ),
        one(2, "gpu.lost", "nvml", Trust.DRIVER, "GPU 3: NVML_ERROR_GPU_IS_LOST"),
        one(
            3,
            "job.says",
            "job-log",
            Trust.JOB_LOG,
            "RuntimeError: CUDA error: unspecified launch failure",
        ),
    )


def asks(at: datetime) -> tuple[Ask, ...]:
    """The hard question and the harmless one."""
    return _repair(at), _grow(at)


def _repair(at: datetime) -> Ask:
    node = {"node": SICK, "incarnation": INCARNATION}
    plan = (NodeDrain(**node), NodeRestart(**node), CheckRun(**node))
    proposal = Proposal(
        id="P-7",
        action=NodeCordon(**node),
        by="agent:remediation",
        reason=f"GPU 3 of {SICK} has fallen off the bus (XID 79). Kernel log and driver agree. "
        "A GPU reset cannot cure this.",
        at=at - timedelta(minutes=3),
        world=World.LAB,
        effect=Effect(predicate="node.fenced", within_s=120.0),
        generation="a1b2c3d4e5f60718",
        confidence=0.93,
        incident="INC-2",
        evidence=("S-1", "S-2"),
        plan=plan,
        rung="restart",
        if_ignored=f"llm-pretrain stays stopped. 8 GPUs of {SICK} stay idle.",
    )
    impact = Impact(
        jobs=("llm-pretrain",),
        tenants=("research",),
        nodes=(SICK,),
        gpus=8.0,
        gpu_hours=1.6,
        pool="train",
        pool_size=4,
        pool_out_before=0,
        pool_out_after=1,
        domain_out={"pool:train": 0, "rack:r1": 0},
        domain_size={"pool:train": 4, "rack:r1": 2},
        checkpoint_age_s=312.0,
    )
    shown = Shown(proposal=proposal, impact=impact, evidence=signals(at), policy_version=POLICY)
    lapses = at + timedelta(minutes=12)
    return Ask(
        id="P-7",
        title=f"Cordon, drain and restart {SICK}?",
        why_now=proposal.reason,
        if_approved=f"{SICK} is fenced: nothing new lands on it. Work on {SICK} may finish for "
        f"60 s, then its raylet is ended. A new raylet starts under the name {SICK}. A short real "
        "workload runs on it before it returns. 1 gang stops (llm-pretrain); it repeats at most "
        "5 min of work.",
        if_ignored=f"{proposal.if_ignored} At {lapses:%H:%M} UTC this question lapses and pages.",
        blast="1 node, up to 8 GPUs, up to 1 job. Makes 1 of 4 nodes out in train.",
        undo="A drain cannot be taken back; a new raylet takes the place of the old one.",
        rule="day-restart-asks",
        rule_where=RULE,
        steps=(
            f"Cordon {SICK}",
            f"Drain {SICK} within 60 s",
            f"Restart {SICK}",
            f"Check {SICK}",
        ),
        shown=shown,
        verdict=_ask_verdict("day-restart-asks", RULE, "By day a restart of a node asks."),
        digest=digest(shown),
        nonce="sim-nonce-of-p7",
        asked_at=at - timedelta(minutes=3),
        expires_at=lapses,
        needs=1,
        from_groups=("oncall",),
        approvals=(),
        status=AskStatus(state="waiting"),
        typed_name=SICK,
        incident_title=f"GPU 3 of {SICK} fell off the bus",
    )


def _grow(at: datetime) -> Ask:
    proposal = Proposal(
        id="P-8",
        action=PoolScale(pool="train", add=1),
        by="agent:planner",
        reason="Demand in train is likely to pass 32 GPUs within 30 minutes.",
        at=at - timedelta(minutes=1),
        world=World.LAB,
        effect=Effect(predicate="pool.grown", within_s=300.0),
        generation="0918273645abcdef",
        confidence=0.81,
        if_ignored="embed-batch waits about 40 minutes longer.",
    )
    impact = Impact(pool="train", pool_size=4)
    shown = Shown(proposal=proposal, impact=impact, evidence=(), policy_version=POLICY)
    lapses = at + timedelta(minutes=14)
    where = "policies/capacity.yaml:12"
    return Ask(
        id="P-8",
        title="Add 1 node to train?",
        why_now=proposal.reason,
        if_approved="One node is added to train.",
        if_ignored=f"{proposal.if_ignored} At {lapses:%H:%M} UTC this question lapses.",
        blast="No node goes out and nothing that runs is stopped.",
        undo="None. If it does not work it stays and you are paged.",
        rule="growth-asks",
        rule_where=where,
        steps=("Add 1 node to train",),
        shown=shown,
        verdict=_ask_verdict("growth-asks", where, "Growth of a pool asks."),
        digest=digest(shown),
        nonce="sim-nonce-of-p8",
        asked_at=at - timedelta(minutes=1),
        expires_at=lapses,
        needs=1,
        from_groups=("oncall", "platform"),
        approvals=(),
        status=AskStatus(state="waiting"),
    )


def _ask_verdict(rule: str, where: str, text: str) -> Verdict:
    reason = Reason(kind="rule", id=rule, says=Decision.ASK, text=text, where=where)
    return Verdict(
        decision=Decision.ASK,
        reasons=(reason,),
        policy_version=POLICY,
        obligations=Obligations(quorum=1, groups=("oncall",), expires_s=900.0),
        window="day",
    )


def stories(at: datetime) -> tuple[Story, ...]:
    """Yesterday's node, mended; this morning's GPU, open."""
    return _mended(at - timedelta(hours=5)), _open(at)


def _mended(at: datetime) -> Story:
    died = Signal(
        id="S-0",
        code="node.dead",
        target="node:train-04",
        at=at,
        source="ray",
        trust=Trust.RAY,
        world=World.LAB,
        simulated=True,
        raw="Raylet of train-04: health check failed 5 times",
    )
    incident = Incident(
        id="INC-1",
        target="node:train-04",
        fault="node_lost",
        title="train-04 is gone",
        state=IncidentState.RESOLVED,
        opened_at=at,
        updated_at=at + timedelta(seconds=96),
        world=World.LAB,
        confidence=0.98,
        node="train-04",
        jobs=("vision-finetune",),
        signals=(died,),
        hypotheses=(
            Hypothesis(
                claim="The raylet ended",
                status=HypothesisStatus.SUPPORTED,
                confidence=0.98,
                evidence=("S-0",),
            ),
        ),
        closed_because="train-04 answers again and vision-finetune runs from step 4200.",
    )
    where = "policies/night.yaml:23"
    told = (
        ("Saw", "Ray declared train-04 dead; its process is gone.", "", "", died.raw),
        ("Allows", "Restart train-04: at night one node may be restarted.", "", where, ""),
        ("Does", "Restart train-04 begins.", "act", "", ""),
        ("Failed", "The first check did not pass: a port was still taken.", "bad", "", ""),
        ("Did", "The second check passed. train-04 is back.", "good", "", ""),
    )
    steps = tuple(
        StoryStep(
            at=at + timedelta(seconds=20 * n),
            seq=n + 1,
            title=title,
            text=text,
            tone=tone,
            where=rule,
            raw=raw,
        )
        for n, (title, text, tone, rule, raw) in enumerate(told)
    )
    return Story(
        incident=incident,
        steps=steps,
        out_for_s=96.0,
        actions=2,
        failed=1,
        people=(),
        first_seq=1,
        last_seq=5,
        policy_version=POLICY,
    )


def _open(at: datetime) -> Story:
    evidence = signals(at)
    incident = Incident(
        id="INC-2",
        target=f"gpu:{SICK}/3",
        fault="gpu_off_bus",
        title=f"GPU 3 of {SICK} fell off the bus",
        state=IncidentState.OPEN,
        opened_at=evidence[0].at,
        updated_at=at - timedelta(minutes=3),
        world=World.LAB,
        confidence=0.93,
        node=SICK,
        gpu=3,
        incarnation=INCARNATION,
        jobs=("llm-pretrain",),
        signals=evidence,
        hypotheses=(
            Hypothesis(
                claim="The GPU lost its PCIe link",
                status=HypothesisStatus.SUPPORTED,
                confidence=0.93,
                evidence=("S-1", "S-2"),
                why="Kernel log and driver agree.",
            ),
            Hypothesis(
                claim="The program is at fault",
                status=HypothesisStatus.REFUTED,
                confidence=0.04,
                why="A program cannot take a GPU off the bus.",
            ),
        ),
    )
    steps = (
        StoryStep(
            at=evidence[0].at,
            seq=7,
            title="Saw",
            text="The kernel log says XID 79 for GPU 3.",
            tone="",
            raw=evidence[0].raw,
        ),
        StoryStep(
            at=evidence[1].at,
            seq=8,
            title="Saw",
            text="The driver says the same GPU is lost.",
            tone="",
            raw=evidence[1].raw,
        ),
        StoryStep(
            at=at - timedelta(minutes=3),
            seq=11,
            title="Asks",
            text=f"Cordon, drain and restart {SICK}? 1 of oncall must approve.",
            tone="act",
            where=RULE,
            proposal="P-7",
        ),
    )
    return Story(
        incident=incident,
        steps=steps,
        out_for_s=None,
        actions=0,
        failed=0,
        people=(),
        first_seq=7,
        last_seq=11,
        policy_version=POLICY,
    )


def log(at: datetime) -> tuple[LogLine, ...]:
    """About a dozen lines, oldest first."""
    kernel, driver = "kernel-log (kernel)", "nvml (driver)"
    night = "policies/night.yaml:23"
    five = 5 * 3600.0
    told: tuple[tuple[float, str, str, str, dict[str, object]], ...] = (
        (five, "Saw", "", "train-04 is gone. Gangs touched: vision-finetune.",
         {"incident": "INC-1", "sources": ("ray (ray)", "lab (provider)")}),
        (five - 1, "Thinks", "", "A dead raylet is cured by a new one in its place.",
         {"incident": "INC-1", "sources": ("agent:remediation, rules, no model",)}),
        (five - 2, "Allows", "", "Restart train-04: at night one node may be restarted.",
         {"incident": "INC-1", "proposal": "P-3", "where": night}),
        (five - 3, "Does", "act", "Restart train-04 begins.",
         {"incident": "INC-1", "proposal": "P-3"}),
        (five - 60, "Failed", "bad", "Check train-04: a port was still taken.",
         {"incident": "INC-1", "proposal": "P-4"}),
        (five - 96, "Did", "good", "train-04 answers again; vision-finetune runs from step 4200.",
         {"incident": "INC-1", "proposal": "P-5"}),
        (239, "Saw", "", f"GPU 3 of {SICK} fell off the bus. Gangs touched: llm-pretrain.",
         {"incident": "INC-2", "sources": (kernel,)}),
        (238, "Saw", "", f"The driver no longer sees GPU 3 of {SICK}.",
         {"incident": "INC-2", "sources": (driver,)}),
        (200, "Thinks", "", "XID 79: the GPU lost its PCIe link. A GPU reset cannot cure it.",
         {"incident": "INC-2", "sources": ("agent:remediation, rules, no model",)}),
        (190, "Refused", "bad", f"Reset GPU 3 on {SICK}: a reset cannot cure XID 79.",
         {"incident": "INC-2", "proposal": "P-6", "where": "policies/base.yaml:17"}),
        (180, "Asks", "act", f"Cordon, drain and restart {SICK}? 1 of oncall must approve.",
         {"incident": "INC-2", "proposal": "P-7", "where": RULE}),
        (60, "Asks", "act", "Add 1 node to train? 1 of oncall, platform must approve.",
         {"proposal": "P-8", "where": "policies/capacity.yaml:12"}),
    )  # fmt: skip
    return tuple(
        LogLine(seq=0, at=at - timedelta(seconds=ago), kind=kind, tone=tone, text=text, **more)
        for ago, kind, tone, text, more in told
    )


def nodes() -> tuple[NodeView, ...]:
    """train-02 with one failed GPU, three healthy nodes, and the head."""
    workers = [_node(n) for n in range(1, 5)]
    return tuple(sorted(workers, key=lambda node: node.rank))


def _node(n: int) -> NodeView:
    name = f"train-{n:02d}"
    sick = name == SICK
    jobs = {1: ("llm-pretrain",), 2: ("llm-pretrain",), 3: ("vision-finetune",)}.get(
        n, ("embed-batch",)
    )
    gpus = tuple(
        GpuView(index=i, state="failed")
        if sick and i == 3
        else GpuView(
            index=i,
            state="ok",
            utilization=0.0 if sick else round(62 + 30 * math.sin(n * 8 + i), 1),
            temperature=round(54 + 8 * math.sin(n + i), 1),
            memory_used_mib=61440.0,
            memory_total_mib=81559.0,
            power_watts=round(380 + 90 * math.sin(n * 3 + i), 1),
            ecc_uncorrected=0.0,
        )
        for i in range(8)
    )
    return NodeView(
        name=name,
        pool="train",
        rack="r1" if n < 3 else "r2",
        nvlink_domain=f"nv-{n}",
        state="failed" if sick else "healthy",
        what="GPU 3 fell off the bus (XID 79)" if sick else "8 of 8 GPUs report",
        rank=0 if sick else 9,
        incarnation=INCARNATION if sick else f"{n}d0e4c77b1",
        control_path=False,
        silent_s=3.0,
        jobs=jobs,
        gpus=gpus,
        simulated=True,
        gpu_source="simulated",
        cpu_percent=31.0 + n,
        memory_percent=44.0,
        incident="INC-2" if sick else "",
    )


def board(at: datetime) -> Board:
    """The first page, without what waits (the desk adds it)."""
    jobs = (
        JobView(name="llm-pretrain", state="stopped", tenant="research", gpus=16.0,
                nodes=("train-01", SICK), attempt=1, step=18120, checkpoint_step=18000,
                checkpoint_age_s=312.0, requeue="can be requeued"),
        JobView(name="vision-finetune", state="running", tenant="vision", gpus=8.0,
                nodes=("train-03",), attempt=2, step=5310, checkpoint_step=5300,
                checkpoint_age_s=41.0, requeue="can be requeued"),
        JobView(name="embed-batch", state="running", tenant="search", gpus=8.0,
                nodes=("train-04",), attempt=1, step=902, checkpoint_step=900,
                checkpoint_age_s=22.0, requeue="Ray's job API keeps no entrypoint of it."),
    )  # fmt: skip
    return Board(
        at=at,
        health=Health(
            ready=True,
            cluster="lab",
            world="lab",
            nodes=5,
            gpus=32,
            redis="own server",
            policy_version=POLICY,
            journal_seq=0,
            journal_head=GENESIS,
            simulated=True,
            stopped=False,
        ),
        orders=Orders(autonomy=Autonomy.ASK),
        last_reading_s=3.0,
        gpus_reporting=31,
        gpus_total=32,
        window="day",
        policy_loaded_at=at - timedelta(hours=6),
        policy_error="",
        waiting=(),
        last_decision="",
        nodes=nodes(),
        jobs=jobs,
        pools=(_pool(at),),
        limits=(
            LimitView(id="restarts-per-hour", text="node restarts in 1 h", used=1.0, limit=2.0,
                      where="policies/limits.yaml:8"),
            LimitView(id="out-of-train", text="nodes of train out", used=0.0, limit=1.0,
                      where="policies/limits.yaml:14"),
        ),
        sources={"ray": "read 2 s ago", "gpu": "read 3 s ago", "host": "read 3 s ago"},
        halted="",
        lab_time="",
        unserved=("gpu.reset", "node.reboot"),
    )  # fmt: skip


def _pool(at: datetime) -> PoolView:
    began = at.timestamp() - 6 * 3600
    history = tuple(
        (began + 300.0 * i, round(20 + 6 * math.sin(i / 9), 1), round(max(0, i - 60) / 3, 1))
        for i in range(72)
    )
    horizons = (300.0, 900.0, 1800.0, 3600.0, 7200.0)
    middle = (29.0, 31.0, 33.0, 35.0, 36.0)
    return PoolView(
        pool="train",
        nodes=4,
        out=0,
        total_gpus=32.0,
        running_gpus=16.0,
        pending_gpus=16.0,
        waiting_jobs=1,
        forecast_method="persistence",
        forecast_why="6 h of history; a seasonal model needs 48 h.",
        horizons_s=horizons,
        p10=tuple(p - 2.0 - n for n, p in enumerate(middle)),
        p50=middle,
        p90=tuple(p + 2.5 + 1.5 * n for n, p in enumerate(middle)),
        history=history,
    )
