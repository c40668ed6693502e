"""What a run decided, as one SHA-256: signals, verdicts and effects of its journal, in order.

Times are the twin's, ids count from one, so the same seed and commit give the same hash. What only
tells people something (notes, pages) is left out: it may differ where nothing was decided.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import Any

from watchkeeper.core.event import Event, Kind


class Trace:
    """Fed with every event, in order. keep: also remember the lines themselves, for a referee."""

    def __init__(self, *, keep: bool = False) -> None:
        self._hash = hashlib.sha256()
        self._seen: dict[str, set[str]] = {}
        self.lines: list[str] = []
        self._keep = keep
        self.verdicts: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.effects: Counter[str] = Counter()
        self.results: Counter[str] = Counter()
        self.signals: Counter[str] = Counter()
        self.incidents: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()
        self.ended: set[str] = set()
        self.halts = 0

    def hear(self, event: Event) -> None:
        """Take in one event of the journal."""
        data = event.data
        match event.kind:
            case Kind.INCIDENT_OPENED | Kind.INCIDENT_CHANGED | Kind.INCIDENT_CLOSED:
                self._incident(event, data["incident"])
            case Kind.VERDICT:
                self._verdict(event, data)
            case Kind.EFFECT_STARTED:
                self.effects[data["action"]] += 1
                self._line(event, data["proposal"], data["action"], *data["targets"])
            case Kind.EFFECT_FINISHED:
                self.results[data["result"]] += 1
                self._line(event, data["proposal"], data["result"])
            case Kind.ANSWERED:
                self._line(event, data["approval"]["proposal"], data["approval"]["answer"])
            case Kind.HALTED | Kind.HEARD_AGAIN | Kind.RESUMED | Kind.GATE_CLOSED:
                self.halts += event.kind is Kind.HALTED
                self._line(event, data.get("why", ""))
            case _:
                pass

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def _incident(self, event: Event, incident: dict[str, Any]) -> None:
        ident = incident["id"]
        seen = self._seen.setdefault(ident, set())
        for signal in incident["signals"]:
            if signal["id"] not in seen:
                seen.add(signal["id"])
                self.signals[signal["code"]] += 1
                self._line(event, ident, signal["code"], signal["target"], signal["at"])
        if event.kind is Kind.INCIDENT_OPENED:
            self.incidents[incident["fault"]] += 1
        if incident["state"] in ("resolved", "escalated") and ident not in self.ended:
            self.ended.add(ident)
            self.ends[f"{incident['state']}:{incident['fault']}"] += 1
            self._line(event, ident, incident["state"])
        elif incident["state"] not in ("resolved", "escalated"):
            self.ended.discard(ident)

    def _verdict(self, event: Event, data: dict[str, Any]) -> None:
        verdict = data["verdict"]
        proposal = data["input"]["proposal"]
        if not data.get("at_effect"):
            self.verdicts[verdict["decision"]] += 1
            if verdict["decision"] == "deny":
                for reason in verdict["reasons"]:
                    if reason["says"] == "deny":
                        self.refused[reason.get("id") or reason["kind"]] += 1
        self._line(
            event,
            data["proposal"],
            json.dumps(proposal["action"], sort_keys=True),
            verdict["decision"],
            *(f"{r['kind']}:{r['id']}" for r in verdict["reasons"]),
        )

    def _line(self, event: Event, *words: str) -> None:
        line = "\x1f".join((event.kind.value, event.at.isoformat(), *words))
        self._hash.update(line.encode() + b"\n")
        if self._keep:
            self.lines.append(line)
