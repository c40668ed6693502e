"""Why: an incident, a proposal or an event, told in plain text from the record. Pure."""

from __future__ import annotations

import json

from watchkeeper.core.action import say
from watchkeeper.core.desk import Story
from watchkeeper.core.event import Event, Kind
from watchkeeper.core.proposal import Proposal
from watchkeeper.core.tame import harmless
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


def advice(proposal: Proposal) -> tuple[str, ...]:
    """What models said of it, one line for each; it decides nothing. None where rules chose."""
    chosen = proposal.chosen
    if chosen is None:
        return ()
    return tuple(
        f"{c.model} {'let it go first' if c.agent else 'chose it'}, confidence {c.confidence:.2f}, "
        f"on {c.label or 'no'} evidence at least"
        + (f", as advice that decides nothing: {harmless(c.why)}" if c.why else ".")
        for c in chosen.each
    )


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
        lines = [f"{head}  {say(proposal.action)}", f"  {proposal.reason}"]
        if proposal.predicted is not None:
            lines.append(f"  {proposal.predicted.says()}")
        return "\n".join([*lines, *(f"  {line}" for line in advice(proposal))])
    return f"{head}\n  {json.dumps(event.data, default=str)[:1500]}"
