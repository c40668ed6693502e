"""Why: an incident, a proposal or an event, told in plain text from the record. Pure."""

from __future__ import annotations

import json

from watchkeeper.core.action import say
from watchkeeper.core.desk import Story
from watchkeeper.core.event import Event, Kind
from watchkeeper.core.proposal import Proposal
from watchkeeper.core.word import parse


def told_story(story: Story) -> str:
    incident = story.incident
    lines = [f"{incident.id}  {incident.title}  ({incident.state.value})"]
    lines += [
        f"  {h.status.value:<10} {h.confidence:.2f}  {h.claim}" + (f": {h.why}" if h.why else "")
        for h in incident.hypotheses
    ]
    for step in story.steps:
        where = f"  [{step.where}]" if step.where else ""
        lines.append(f"{step.at:%H:%M:%S}  {step.title}. {step.text}{where}".rstrip())
    lines.append(f"Journal events {story.first_seq} to {story.last_seq}.")
    return "\n".join(lines)


def told_event(event: Event) -> str:
    head = f"{event.at:%Y-%m-%d %H:%M:%S}Z  event {event.seq}  {event.kind.value}"
    if event.kind is Kind.VERDICT:
        verdict = event.data["verdict"]
        lines = [f"{head}  {verdict['decision']}"]
        for reason in verdict["reasons"]:
            place = reason.get("where") or reason["kind"]
            lines.append(f"  {reason['says']:<6} {place:<40} {reason['id']}: {reason['text']}")
        return "\n".join(lines)
    if event.kind is Kind.PROPOSED:
        proposal = parse(event.data["proposal"], Proposal)
        return f"{head}  {say(proposal.action)}\n  {proposal.reason}"
    return f"{head}\n  {json.dumps(event.data, default=str)[:1500]}"
