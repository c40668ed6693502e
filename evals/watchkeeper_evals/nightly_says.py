"""What the long proofs found, as the paragraphs and tables of docs/evidence.md. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from watchkeeper_evals.remediation.table import seeds_said

Found = dict[str, Any]


def of_night(found: Found) -> str:
    """The evaluation against baselines and oracle."""
    controllers = [
        *found["baselines"].items(),
        ("watchkeeper", found["watchkeeper"]),
        ("oracle", found["oracle"]),
    ]
    lines = [
        "## The night shift (simulated)",
        "",
        f"`watchkeeper eval remediation --nodes {found['nodes']} --days {found['days']:g} --seeds"
        f" {len(found['seeds'])} --first-seed {found['seeds'][0]}`, {seeds_said(found['seeds'])}:"
        f" {found['cluster_days']:,.0f} cluster-days, {found['node_days']:,.0f} node-days.",
        "",
        *_table(
            (
                "controller",
                "ETTR",
                "lost GPU-hours",
                "to faults",
                "MTTR p50 / p99",
                "false actions",
            ),
            (_controller(name, told) for name, told in controllers if told),
        ),
        "",
        *_targets(found["targets"]),
        "",
        *_of_the_watch(found),
        "",
        "Time to repair by class of true fault, where an effect or people ended it:",
        "",
        *_table(("class", "faults", "p50", "p99", "repaired"), map(_class, _classes(found))),
    ]
    return "\n".join(lines)


def of_pages(found: Found) -> str:
    """What the console costs, beside what was asked of it."""
    drawn, held = found["map_load"], found["console_load"]
    many = held["1000 questions"]

    def both(figure: str) -> str:
        return f"{drawn['desk'][figure]} / {drawn['phone'][figure]}"

    rows = (
        ("map of 10,000 GPUs, read, drawn and painted, ms", both("update_ms_p50"), "50"),
        ("processor time of the server for it, ms", both("server_cpu_ms_each"), "3"),
        ("first paint, ms", both("first_paint_ms"), "1,000"),
        ("memory of the server for each open page, MiB", str(held["mib_per_client"]), "0.5"),
        (
            "1,000 questions waiting: the list / one of them, ms",
            f"{many['/']['median_ms']} / {many['/a/P-7']['median_ms']}",
            "usable",
        ),
    )
    return "\n".join(
        [
            "## What the console costs (simulated fleets)",
            "",
            *_table(("median, desk / phone", "", "asked"), rows),
            "",
            "`python -m tests.browser.map_load` and `python -m tests.browser.console_load`, at a"
            f" load average of {drawn['load_1m']} and {held['load_1m']}.",
        ]
    )


def of_model(found: Found) -> str:
    """Hostile models against the rules alone."""
    rules = found["rules"]
    return "\n".join(
        [
            "## Hostile models (simulated)",
            "",
            f"Seeds {found['seeds'][0]} to {found['seeds'][1]}, {found['cluster_hours']:,.0f}"
            f" cluster-hours; the rules alone cured {rules['cured']} faults, ETTR"
            f" {rules['ettr']:.4f}. Promises broken: {found['invariant_violations']}.",
            "",
            *_table(
                ("model", "cured", "of the rules'", "ETTR", "effects checked", "tickets"),
                (
                    (
                        name,
                        str(told["cured"]),
                        f"{told['cured_share']:.1%}",
                        f"{told['ettr']:.4f}",
                        str(told["effects_checked"]),
                        str(told["tickets"]),
                    )
                    for name, told in found["models"].items()
                ),
            ),
        ]
    )


def of_noise(found: Found) -> str:
    """Nothing breaks, and what is seen goes wrong."""
    loud = ", ".join(f"{n:,} {kind.replace('_', ' ')}" for kind, n in found["noise"].items())
    return "\n".join(
        [
            "## Noise alone (simulated)",
            "",
            f"{found['nodes']} nodes, {found['days']:g} days, {seeds_said(found['seeds'])}:"
            f" {found['node_days']:,.0f} node-days without a fault; disturbances: {loud}.",
            "",
            *_targets(found["targets"]),
            "",
            f"{found['escalated']} incidents ended with a person, {found['pages']} pages,"
            f" {found['halts']} halts.",
            *(_deed(deed) for deed in found["false_deeds"]),
        ]
    )


def _deed(deed: Found) -> str:
    hours = deed["at_s"] / 3600
    return f"- seed {deed['seed']}, hour {hours:.1f}: {deed['kind']} of {deed['target']}"


def of_tests(found: Found) -> str:
    """Tests that play long."""
    seeds = f" with WATCHKEEPER_SEEDS={found['seeds']}" if found["seeds"] else ""
    said = "\n".join(f"- {line}" for line in found["said"])
    files = " ".join(f"`{name}`" for name in found["files"])
    return f"## Proofs by test (simulated)\n\n{files}{seeds}: {found['summary']}.\n\n{said}"


def of_lab(found: Found) -> str:
    """Tests on a real Ray cluster of this machine."""
    files = " ".join(f"`{name}`" for name in found["files"])
    return f"## On a lab (Ray is real, GPUs are simulated)\n\n{files}: {found['summary']}."


def of_mutants(found: Found) -> str:
    """How good the judge's tests are."""
    return (
        "## The tests of the judge\n\n"
        f"`python -m watchkeeper_evals.mutants`: {found['tried']:,} of {found['mutants']:,} changes"
        f" of {', '.join(found['modules'])} tried, {found['noticed']:,} noticed:"
        f" {found['score_percent']} %."
    )


def _of_the_watch(found: Found) -> list[str]:
    kept, rate = found["invariants"], found["false_action_bound"]
    people = found["escalated_per_400_curable"]
    told = found["escalated_per_400_told"]
    truth = found["escalated_by_truth"]
    return [
        f"- Promises: {kept['violations']} broken at {kept['effects_checked']:,} effects; at 95 %"
        f" at most {kept['per_effect']['upper95']:.2g} of effects.",
        f"- False actions: {rate['count']} of {rate['of']:,}, 95 % {rate['low95']:.2%} to"
        f" {rate['high95']:.2%}. By class: {_false(found['false_by_class'])}.",
        f"- Escalations: {found['escalated']}, of which {people['count']} were of the"
        f" {found['curable_faults']:,} curable faults: {people['rate'] or 0:.2f} for each 400"
        f" (95 % {people['low95']:.2f} to {people['high95']:.2f}); {truth['person']} needed hands,"
        f" {truth['nothing']} were about nothing. {found['hidden_faults']} of the curable were"
        f" silent corruption that no check of the twin finds, {truth['hidden']} escalations were of"
        f" these; without them {told['rate'] or 0:.2f} for each 400 (95 % {told['low95']:.2f} to"
        f" {told['high95']:.2f}).",
        f"- Questions: {found['asked']}, {found['asked_night']} of them at night;"
        f" {found['answered']} were answered.",
        f"- Cadence: {'; '.join(found['cadence'][:2])}. One run: "
        f"{found['watchkeeper']['wall_s'] / max(1, found['watchkeeper']['seeds']):,.0f} s,"
        f" at most {found['watchkeeper']['rss_mb']:,.0f} MB.",
    ]


def _false(by_class: Found) -> str:
    wrong = {name: told for name, told in by_class.items() if told["count"]}
    if not wrong:
        return "none in any class"
    return ", ".join(f"{name} {told['count']} of {told['of']}" for name, told in wrong.items())


def _controller(name: str, told: Found) -> tuple[str, ...]:
    times = told["mttr_s"]
    mean = told["ettr_seeds"]
    bound = "" if mean["low95"] is None else f" ({mean['low95']:.4f} to {mean['high95']:.4f})"
    return (
        name,
        f"{told['ettr']:.5f}{bound}",
        f"{told['lost_gpu_hours']:,.0f}",
        f"{told['lost_to_faults_gpu_hours']:,.0f}",
        f"{_time(times['p50'])} / {_time(times['p99'])}",
        f"{told['false_actions']} of {told['actions']}",
    )


def _targets(rows: Iterable[Found]) -> list[str]:
    return _table(("target", "figure", "bound", "", "the oracle"), map(_target, rows))


def _target(row: Found) -> tuple[str, ...]:
    bound = f"≥ {row['at_least']:,.4g}" if "at_least" in row else f"≤ {row['at_most']:.4g}"
    if row.get("at_least", 0) >= 1000:
        bound = f"≥ {row['at_least']:,}"
    knew = "" if row.get("oracle") is None else _number(row["oracle"])
    if row.get("reachable") is False:
        knew += ", out of reach"
    said = {True: "met", False: "not met", None: "–"}[row["met"]]
    return row["what"], _number(row["figure"]), bound, said, knew


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _classes(found: Found) -> list[tuple[str, Found]]:
    return list(found["mttr_s"]["by_class"].items())


def _class(pair: tuple[str, Found]) -> tuple[str, ...]:
    name, told = pair
    return (
        f"`{name}`",
        str(told["faults"]),
        _time(told["p50"]),
        _time(told["p99"]),
        str(told["of"]),
    )


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    return [
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]
