"""A report and a postmortem as Markdown, and as HTML that stands alone in a file or a mail.

Pure: words in, text out. Every text of the cluster is tamed, and escaped so that it can neither
begin a heading, a link or a tag, nor end the list that it stands in.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from watchkeeper.console.report_view import (
    day_hm,
    figure,
    hm,
    hms,
    simulated_words,
    span_of,
    title_of,
    zoned,
)
from watchkeeper.console.tame import tame, tame_lines
from watchkeeper.core.report import Ending, Item, Moment, Postmortem, Report, Section
from watchkeeper.core.word import plain

if TYPE_CHECKING:
    from watchkeeper.console.pages import Pages

_SPECIAL = re.compile(r"[\\`*_\[\]|~$]")
_LEADS = re.compile(r"[#+=-]")
_NUMBERED = re.compile(r"([0-9]+)(?=[.)](?:\s|$))")
_LINKS = re.compile(r"(?i)://|www\.|@")
_TAGS = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
BLANKS = (
    ("Cause, in one sentence", "What the record supports stands under Causes."),
    ("What helped, and what got in the way", ""),
    ("What is changed so that it does not come again", "Each with an owner and a date."),
    ("Runbook", "A link for whoever meets this next."),
)
"""What only people can add to a postmortem: (question, hint)."""


def md(text: object, cap: int = 1200) -> str:
    """One line of Markdown that shows this text and does nothing else."""
    told = tame(text, cap)
    told = re.sub(r"[&<>]", lambda m: _TAGS[m.group()], told)
    told = _SPECIAL.sub(lambda m: f"\\{m.group()}", told)
    told = _LINKS.sub(_unlinked, told)
    if lead := _NUMBERED.match(told):
        return f"{lead[1]}\\{told[lead.end() :]}"
    return f"\\{told}" if _LEADS.match(told) else told


def _unlinked(found: re.Match[str]) -> str:
    """Addresses and names stay text: Markdown makes links of them by itself."""
    part = found.group()
    return f"{part[:-1]}\\." if part.endswith(".") else f"\\{part}"


def as_markdown(report: Report) -> str:
    """The report as Markdown."""
    lines = [f"# {title_of(report)}", ""]
    if report.simulated:
        lines += [f"**{simulated_words(report.world)}.**", ""]
    lines += [md(" ".join(report.headline)), "", f"{span_of(report)}.", ""]
    lines += _table([name for name, _ in report.figures], [[value for _, value in report.figures]])
    for section in report.sections:
        lines += _section(section, report)
        if section.id == "saw":
            lines += _bounds(report)
    lines += ["---", "", _foot(report), ""]
    return "\n".join(lines)


def _section(section: Section, report: Report) -> list[str]:
    lines = [f"## {section.title}", ""]
    if not section.items:
        return [*lines, section.empty, ""]
    lines += [_item(item, report) for item in section.items]
    if section.left_out:
        lines.append(f"- And {section.left_out} more; the journal has them.")
    return [*lines, ""]


def _item(item: Item, report: Report) -> str:
    at = f"{hm(item.at, report.zone)} " if item.at else ""
    names = [n for n in (item.incident, item.proposal) if n]
    refs = f" ({', '.join(md(n, 60) for n in names)})" if names else ""
    return f"- {at}**{md(item.text)}**{refs}{_more(item.more, item.where)}"


def _more(more: str, where: str) -> str:
    """The second line of an entry; "" without one."""
    parts = [md(more)] if more else []
    parts += [f"Rule: {_code(where)}."] if where else []
    return f"\n  {' '.join(parts)}" if parts else ""


def _code(text: str) -> str:
    """Code in a line: without what would end it."""
    return f"`{tame(text, 160).replace('`', '')}`"


def _bounds(report: Report) -> list[str]:
    lines = ["## Budgets used", ""]
    if report.limits is None:
        lines += ["Not known: the policy is not at hand.", ""]
    elif not report.limits:
        lines += ["The policy has no budget and no rate.", ""]
    else:
        rows = [
            [md(u.text), figure(u.used), figure(u.limit), _code(u.where)] for u in report.limits
        ]
        lines += _table(["What", "Used", "Of", "Rule"], rows)
    lines += ["## Exceptions, and what else ends", ""]
    if report.endings is None:
        return [*lines, "Not known: the policy is not at hand.", ""]
    lines += [_ending(e, report) for e in report.endings] or [
        "No exception is written, and no rule ends within three days."
    ]
    return [*lines, ""]


def _ending(ending: Ending, report: Report) -> str:
    when = day_hm(ending.until, report.zone)
    word = "Ended" if ending.over else ("**Ends soon**," if ending.soon else "Ends")
    return f"- {word} {when}: {md(ending.text)} {_code(ending.where)}"


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
    ]


def _foot(report: Report) -> str:
    seqs = f"{report.first_seq:,} to {report.last_seq:,}" if report.last_seq else "empty"
    return (
        f"Cluster {md(report.cluster, 80) or 'not known'}. Journal {seqs}, head "
        f"{_code(report.head[:16] or 'none')}. Policy {_code(report.policy_version or 'none')}. "
        f"Times are {report.zone}."
    )


def postmortem_markdown(found: Postmortem) -> str:
    """The postmortem as Markdown, with blanks for what only people know."""
    incident = found.incident
    lines = [f"# {md(incident.id, 40)}: {md(incident.title)}", ""]
    if found.simulated:
        lines += [f"**{simulated_words(found.world)}.**", ""]
    lines += [md(summary(found)), ""]
    lines += _table(["What", ""], [[name, md(value)] for name, value in found.figures])
    lines += [f"## Timeline ({found.zone})", ""]
    day = ""
    for moment in found.timeline:
        local = zoned(moment.at, found.zone)
        if (today := f"{local.day} {local:%B %Y}") != day:
            lines += [f"**{today}**", ""] if not day else ["", f"**{today}**", ""]
            day = today
        lines.append(_moment(moment, found.zone))
    lines += ["", "## Causes", ""]
    lines += [
        f"- {h.status.value.capitalize()}, {h.confidence:.2f}: {md(h.claim)}"
        + (f" ({md(h.why)})" if h.why else "")
        for h in incident.hypotheses
    ] or ["None was drawn up."]
    lines += ["", "## Rules that spoke", ""]
    lines += [f"- {_code(where)} {md(ident)}" for where, ident in found.rules] or ["None."]
    lines += ["", "## For people to add", ""]
    for question, hint in BLANKS:
        lines += [f"**{question}.** {hint}".rstrip(), "", "…", ""]
    lines += ["---", "", postmortem_foot(found), ""]
    return "\n".join(lines)


def summary(found: Postmortem) -> str:
    """How it ended, and who answered, in a sentence or two."""
    incident = found.incident
    state = incident.state.value
    end = {"resolved": "Resolved", "escalated": "Handed to a person"}.get(state, "Still open")
    because = incident.closed_because.removeprefix(incident.title).strip(". ")
    why = f": {because}" if because else ""
    people = f" Answered by {', '.join(found.people)}." if found.people else ""
    nobody = " People were asked; nobody answered." if found.asked else " Nobody was asked."
    mark = "" if why.endswith("?") else "."
    return f"{end}{why}{mark}{people or nobody}"


def postmortem_foot(found: Postmortem) -> str:
    """Where all of it stands in the record."""
    versions = ", ".join(_code(v) for v in found.policy_versions) or "none"
    return (
        f"Cluster {md(found.cluster, 80) or 'not known'}. Journal {found.first_seq:,} to "
        f"{found.last_seq:,}, up to {_code(found.head[:16])}. Policy {versions}."
    )


def _moment(moment: Moment, zone: str) -> str:
    again = f" ({moment.times} times)" if moment.times > 1 else ""
    source = f" ({md(moment.source, 120)})" if moment.source else ""
    told = f"- `{hms(moment.at, zone)}` **{moment.stage.value.capitalize()}.** {md(moment.text)}"
    told += again + source
    told += " *simulated*" if moment.simulated else ""
    told += _more(moment.more, moment.where)
    if moment.raw:
        raw = tame_lines(moment.raw)
        ticks = "`" * max(3, 1 + max((len(r) for r in re.findall(r"`+", raw)), default=0))
        body = "\n".join(f"  {line}" for line in raw.splitlines())
        told += f"\n\n  {ticks}text\n{body}\n  {ticks}\n"
    return told


def as_json(word: Report | Postmortem) -> str:
    """The word itself, as JSON in ASCII: nothing in it can act on a terminal."""
    return json.dumps(plain(word), indent=2, ensure_ascii=True)


def as_html(report: Report) -> str:
    """The report as one HTML file: no script, nothing from elsewhere."""
    return _pages().render("report_alone.html", report=report)


def postmortem_html(found: Postmortem) -> str:
    """The postmortem as one HTML file: no script, nothing from elsewhere."""
    return _pages().render("postmortem.html", found=found, summary=summary(found), blanks=BLANKS)


@cache
def _pages() -> Pages:
    from watchkeeper.console.pages import Pages  # Jinja: only where HTML is asked for

    return Pages(Path(__file__).parent / "templates")
