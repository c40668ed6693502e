"""The report and the postmortem of the simulated morning that FakeDesk shows. Plain words."""

from __future__ import annotations

from datetime import datetime, timedelta

from watchkeeper.core.incident import Incident
from watchkeeper.core.report import (
    Ending,
    Item,
    Mark,
    Moment,
    Postmortem,
    Report,
    Section,
    Stage,
    Used,
)


def report(since: datetime, until: datetime) -> Report:
    """One fault mended, one that waits, one refusal, and a forecast that missed."""
    open_for = round((until - since).total_seconds() / 60)
    waits = Item(
        key="waits:P-7",
        text="Cordon, drain and restart train-02?",
        more="Asked at 06:57, until 07:12. llm-pretrain stays stopped.",
        tone="you",
        at=until - timedelta(minutes=3),
        incident="INC-2",
        proposal="P-7",
    )
    did = Item(
        key="did:INC-1",
        text="train-04: restarted, check failed, checked, returned to service; "
        "vision-finetune: submitted again.",
        more="train-04: node lost. Verified: train-04 serves again. Nobody was asked. "
        "Expected to cost 0.4 GPU-hours.",
        tone="good",
        at=until - timedelta(hours=5),
        incident="INC-1",
        where="policies/night.yaml:23",
        seqs=(3, 4, 5),
    )
    did_not = Item(
        key="did_not:P-6",
        text="Did not reset GPU 3 on train-02.",
        more="Refused: a reset cannot cure XID 79.",
        tone="bad",
        at=until - timedelta(minutes=3),
        incident="INC-2",
        proposal="P-6",
        where="policies/base.yaml:17",
    )
    saw = Item(
        key="saw:INC-2",
        text="GPU 3 of train-02 fell off the bus.",
        more=f"Open. Two independent sources, confidence 0.93. The report spans {open_for} min.",
        tone="bad",
        at=until - timedelta(minutes=4),
        incident="INC-2",
    )
    missed = Item(
        key="missed:train",
        text="train: 11 of 12 hours fell into the 80 % band that was foreseen an hour before.",
        more="At 05:00 it was too high: 28 GPUs foreseen (24 to 31), 20 came.",
    )
    return Report(
        cluster="lab-5e1f",
        world="lab",
        simulated=True,
        since=since,
        until=until,
        zone="Europe/Berlin",
        headline=(
            "2 incidents: 1 resolved, 1 open.",
            "5 actions, none of them went wrong.",
            "1 question waits for you.",
        ),
        figures=(("Incidents", "2"), ("Actions", "5"), ("Expected cost", "0.4 GPU-hours")),
        sections=(
            Section(id="waits", title="Waits for you", empty="Nothing waits.", items=(waits,)),
            Section(id="did", title="What it did", empty="It did nothing.", items=(did,)),
            Section(
                id="did_not",
                title="What it did not do, and why",
                empty="Nothing was refused.",
                items=(did_not,),
                left_out=2,
            ),
            Section(id="saw", title="What it saw", empty="No incident.", items=(saw,)),
            Section(id="missed", title="How its forecasts held", empty="None.", items=(missed,)),
            Section(id="unsure", title="What it is unsure of", empty="Nothing that it tells."),
        ),
        marks=(
            Mark(
                at=until - timedelta(hours=5),
                until=until - timedelta(hours=5) + timedelta(seconds=96),
                tone="good",
                label="train-04",
            ),
            Mark(at=until - timedelta(minutes=4), until=until, tone="bad", label="train-02"),
        ),
        limits=(
            Used(
                id="few-restarts-an-hour",
                text="few-restarts-an-hour: started within 1 h",
                used=1.0,
                limit=6.0,
                where="policies/always.yaml:22",
            ),
        ),
        endings=(
            Ending(
                id="EX-7",
                kind="exception",
                text="EX-7 lifts hands-off-the-demo; ml-platform, OPS-112: The demo moved.",
                until=until + timedelta(days=2),
                soon=True,
                where="policies/night.yaml:40",
            ),
        ),
        policy_version="sim-policy-1a2b3c",
        first_seq=1,
        last_seq=12,
        head="0" * 64,
    )


def postmortem(incident: Incident, until: datetime) -> Postmortem:
    """One incident, with a signal and its end."""
    return Postmortem(
        incident=incident,
        cluster="lab-5e1f",
        world="lab",
        simulated=True,
        zone="Europe/Berlin",
        until=until,
        figures=(("Lasted", "96 s"), ("Actions", "2, 1 failure")),
        timeline=(
            Moment(
                at=incident.opened_at,
                stage=Stage.SIGNAL,
                text=f"node.dead on {incident.target}",
                source="ray (ray)",
                raw="\n".join(s.raw for s in incident.signals),
                simulated=True,
                seq=1,
            ),
            Moment(
                at=incident.updated_at,
                stage=Stage.VERIFICATION,
                text="Resolved",
                more=incident.closed_because,
                tone="good",
                seq=5,
            ),
        ),
        rules=(("policies/night.yaml:23", "restart-one-at-night"),),
        people=("ann",),
        asked=1,
        policy_versions=("sim-policy-1a2b3c",),
        first_seq=1,
        last_seq=5,
        head="0" * 64,
    )
