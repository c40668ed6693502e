"""What Prometheus reads: the desk's counters, with labels that cannot grow without bound."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from watchkeeper.core.desk import Desk, Health
from watchkeeper.core.tame import tame

PREFIX = "watchkeeper_"
MAX_LABELS = 64
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_NAME = re.compile(r"[a-z][a-z0-9_]*")
LABEL = {
    "decisions_total": "decision",
    "effects_total": "action",
    "outcomes_total": "outcome",
    "answers_total": "answer",
    "incidents_total": "class",
    "notifications_total": "kind",
    "shadow_divergence_total": "change",
}
"""What tells the samples of a family apart; `kind` where nothing better is said here."""


def exposition(desk: Desk, own: Mapping[str, float]) -> bytes:
    """The text format. own: the console's own gauges."""
    registry = CollectorRegistry()
    registry.register(_Collector(desk.metrics(), desk.health(), own))
    return bytes(generate_latest(registry))


class _Collector:
    def __init__(
        self, counted: Mapping[str, Any], health: Health, own: Mapping[str, float]
    ) -> None:
        self._counted = counted
        self._health = health
        self._own = own

    def collect(self) -> Iterator[Any]:
        health = self._health
        gauges = {
            "ready": float(health.ready),
            "nodes": float(health.nodes),
            "gpus": float(health.gpus),
            "simulated": float(health.simulated),
            **self._own,
        }
        for name, value in gauges.items():
            yield GaugeMetricFamily(PREFIX + name, _help(name), value=value)
        info = GaugeMetricFamily(
            PREFIX + "policy_info", "The policy in force.", labels=("version",)
        )
        info.add_metric((tame(health.policy_version, 120),), 1.0)
        yield info
        for name, value in sorted(self._counted.items()):
            if _NAME.fullmatch(name) and name not in gauges:
                yield _family(name, value)


def _family(name: str, value: Any) -> Any:
    kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
    full = PREFIX + name.removesuffix("_total")
    if not isinstance(value, Mapping):
        return kind(full, _help(name), value=float(value))
    family = kind(full, _help(name), labels=(LABEL.get(name, "kind"),))
    for label, number in _bounded(value).items():
        family.add_metric((tame(label, 120),), number)
    return family


def _bounded(values: Mapping[str, float]) -> dict[str, float]:
    """At most MAX_LABELS labels: the largest by name, the rest together as `other`."""
    if len(values) <= MAX_LABELS:
        return {str(label): float(n) for label, n in sorted(values.items())}
    ranked = sorted(values.items(), key=lambda item: (-item[1], item[0]))
    kept = {str(label): float(n) for label, n in ranked[: MAX_LABELS - 1]}
    kept["other"] = kept.get("other", 0.0) + float(sum(n for _, n in ranked[MAX_LABELS - 1 :]))
    return kept


def _help(name: str) -> str:
    return f"Watchkeeper: {name.removesuffix('_total').replace('_', ' ')}."
