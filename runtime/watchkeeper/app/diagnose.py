"""`watchkeeper diagnose --log FILE [--json]`: what a log says, and what the watch would propose.
Reads one file, prints, touches nothing."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from watchkeeper.core.errors import UsageError
from watchkeeper.core.incident import Hypothesis, Incident, Signal
from watchkeeper.core.word import Word
from watchkeeper.health.catalogue import meaning
from watchkeeper.health.diagnose import Findings, read_log
from watchkeeper.health.evidence import fault_of
from watchkeeper.health.kernel_lines import Ignored
from watchkeeper.remedy.on_paper import NEUTRAL, PaperPlan, PaperStep, on_paper

MAX_BYTES = 64 * 1024 * 1024
SHOWN = 20
"""Rows of one kind that the short output shows; `--json` has them all."""


class Diagnosis(Word, frozen=True):
    """All that was found. times: signal id -> its time as the log tells it, "" for none.
    plans: one per incident, in the same order."""

    signals: tuple[Signal, ...]
    incidents: tuple[Incident, ...]
    plans: tuple[PaperPlan, ...]
    ignored: tuple[Ignored, ...]
    times: dict[str, str]
    lines: int

    @property
    def proposals(self) -> tuple[PaperStep, ...]:
        """What would be proposed, incident by incident: the first rung and what would follow."""
        return tuple(step for plan in self.plans for step in plan.steps)


def diagnose(text: str, serves: frozenset[str] = NEUTRAL, now: datetime | None = None) -> Diagnosis:
    """Pure: the same text gives the same findings. now dates stamps that carry no year."""
    found: Findings = read_log(text, now)
    return Diagnosis(
        signals=found.signals,
        incidents=found.incidents,
        plans=tuple(on_paper(i, found.snapshot, serves) for i in found.incidents),
        ignored=found.ignored,
        times=dict(found.times),
        lines=found.lines,
    )


def as_json(found: Diagnosis) -> str:
    """One JSON object: signals, incidents, proposals, ignored. The evidence of a hypothesis is
    given as places in `signals`, counted from 0."""
    place = {s.id: n for n, s in enumerate(found.signals)}
    out: dict[str, Any] = {
        "signals": [
            {
                "code": s.code,
                "target": s.target,
                "time": found.times.get(s.id) or None,
                "source": s.source,
                "trust": s.trust.value,
            }
            for s in found.signals
        ],
        "incidents": [
            {
                "target": i.target,
                "class": str(i.fault),
                "hypotheses": [_claim(h, place) for h in i.hypotheses],
            }
            for i in found.incidents
        ],
        "proposals": list(found.proposals),
        "ignored": list(found.ignored),
    }
    return msgspec.json.format(msgspec.json.encode(out), indent=2).decode()


def _claim(cause: Hypothesis, place: dict[str, int]) -> dict[str, Any]:
    return {
        "claim": cause.claim,
        "status": cause.status.value,
        "confidence": cause.confidence,
        "evidence": [place[e] for e in cause.evidence if e in place],
        "why": cause.why,
    }


def as_text(found: Diagnosis, name: str) -> str:
    """The same for people: short, aligned, and what was done to the cluster, which is nothing."""
    events, lines = len(found.signals), found.lines
    head = f"{name}: {_count(lines, 'line')}, {_count(events, 'event')}"
    refused = f", {len(found.ignored)} not believed" if found.ignored else ""
    blocks = [[f"{head}{refused}."], _signals(found), _incidents(found), _ignored(found)]
    if not events:
        blocks.insert(1, ["No line that we know speaks of a fault."])
    body = "\n\n".join("\n".join(block) for block in blocks if block)
    return f"{body}\n\nNothing was touched."


def read_text(path: str) -> tuple[str, datetime]:
    """A log's text, and when it was last written. `-` is standard input.

    Raises UsageError: missing, not readable, a directory, compressed, binary, or over 64 MiB.
    """
    if not path:
        raise UsageError("No file is named. Name a log with --log FILE, or - for standard input.")
    if path == "-":
        return _decoded(sys.stdin.buffer.read(MAX_BYTES + 1), "standard input"), datetime.now(UTC)
    file = Path(path)
    try:
        with file.open("rb") as stream:
            written = datetime.fromtimestamp(file.stat().st_mtime, UTC)
            return _decoded(stream.read(MAX_BYTES + 1), path), written
    except FileNotFoundError:
        raise UsageError(f"There is no file {path}. Name a log with --log FILE.") from None
    except IsADirectoryError:
        raise UsageError(f"{path} is a directory. Name one log file in it.") from None
    except OSError as err:
        reason = err.strerror or str(err)
        hint = " Check its permissions." if isinstance(err, PermissionError) else ""
        raise UsageError(f"{path} cannot be read: {reason}.{hint}") from err


def run(path: str, *, json: bool = False) -> str:
    """What the command prints. Raises UsageError."""
    text, written = read_text(path)
    found = diagnose(text, now=written)
    return as_json(found) if json else as_text(found, "standard input" if path == "-" else path)


def _decoded(data: bytes, name: str) -> str:
    if len(data) > MAX_BYTES:
        limit = MAX_BYTES // (1024 * 1024)
        raise UsageError(
            f"{name} is larger than {limit} MiB. Cut it, for example with `tail -c {limit}M`."
        )
    if data.startswith((b"\x1f\x8b", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"BZh")):
        raise UsageError(f"{name} is compressed. Unpack it first and name the text.")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UsageError(f"{name} is UTF-16. Convert it with `iconv -f utf-16 -t utf-8 FILE`.")
    if b"\0" in data[:65536]:
        raise UsageError(
            f"{name} is binary, not a text log. For the journal, use `journalctl -k > FILE`."
        )
    return data.decode("utf-8-sig", errors="replace")


def _signals(found: Diagnosis) -> list[str]:
    if not found.signals:
        return []
    count = Counter((s.code, s.target) for s in found.signals)
    first: dict[tuple[str, str], Signal] = {}
    for signal in found.signals:
        first.setdefault((signal.code, signal.target), signal)
    held = {s.id for i in found.incidents for s in i.signals}
    borne_out = {(s.code, s.target) for s in found.signals if s.id in held}
    rows = []
    for (code, target), signal in first.items():
        times = f"{count[code, target]} times" if count[code, target] > 1 else ""
        says = meaning(code)
        if fault_of(signal) is None:
            says += ", no fault by itself"
        elif (code, target) not in borne_out:
            says += ", not borne out"
        rows.append((found.times.get(signal.id) or "no time", code, target, says, times))
    return ["Signals", *_table(rows), *_more(len(rows))]


def _incidents(found: Diagnosis) -> list[str]:
    out: list[str] = []
    for incident, plan in list(zip(found.incidents, found.plans, strict=True))[:SHOWN]:
        out += ["", f"{incident.title} ({incident.fault}, confidence {incident.confidence:.2f})"]
        causes = [(h.status.value, f"{h.claim}: {h.why}") for h in incident.hypotheses]
        out += _table(causes)
        if plan.steps:
            out += ["  Would propose"]
            rows = [
                (f"{n}.", s.action, " ".join(s.targets), s.reason)
                for n, s in enumerate(plan.steps, 1)
            ]
            out += [f"  {row}" for row in _table(rows)]
        else:
            out += [f"  Would propose nothing. {plan.says}"]
    return [*out[1:], *_more(len(found.incidents))]


def _ignored(found: Diagnosis) -> list[str]:
    if not found.ignored:
        return []
    rows = [(i.reason, i.line[:100]) for i in found.ignored]
    return ["Not believed", *_table(rows), *_more(len(rows))]


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows as aligned columns, two spaces in; the last column is as long as it likes."""
    shown = rows[:SHOWN]
    width = [max(len(row[i]) for row in shown) for i in range(len(shown[0]))] if shown else []
    return [
        "  " + "  ".join(cell.ljust(w) for cell, w in zip(row, width, strict=True)).rstrip()
        for row in shown
    ]


def _more(count: int) -> list[str]:
    return [f"  and {count - SHOWN} more; --json has them all"] if count > SHOWN else []


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
