"""Tables for the terminal, from the same words that the page draws.

Names come from the cluster: they are printed as text, never as markup or as terminal commands.
"""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from watchkeeper.core.hold import named
from watchkeeper.core.tame import harmless

Row = dict[str, Any]

MOST_WAITS = 8
"""Gangs whose reason for waiting is printed; `-o json` has all."""


class _Grid(Table):
    """A table whose cells are plain text."""

    def add(self, *cells: object) -> None:
        self.add_row(*(Text(harmless(str(cell))) for cell in cells))


def _printed(*parts: Any) -> str:
    console = Console(highlight=False)
    with console.capture() as capture:
        for part in parts:
            console.print(Text(harmless(part)) if isinstance(part, str) else part)
    return capture.get().rstrip()


def _table(title: str, *columns: str) -> _Grid:
    table = _Grid(title=title, title_justify="left", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def status_table(board: Row) -> str:
    """State line, nodes, gangs, pools, limits."""
    health, orders = board["health"], board["orders"]
    simulated = "  GPU DATA SIMULATED" if health["simulated"] else ""
    head = [
        f"{health['cluster']}  {health['world']}{simulated}",
        f"{'Ready' if health['ready'] else 'Not ready: ' + health['why_not_ready']}. "
        f"Dial: {orders['autonomy']}. {board['window']}",
        f"Policy {health['policy_version'] or 'none'}. Journal {health['journal_seq']} "
        f"{health['journal_head'][:12]}. Redis: {health['redis']}",
    ]
    if orders["stopped"]:
        head.append(f"STOPPED by {orders['stopped_by']}. {orders['stop_reason']}")
    if error := board.get("policy_error"):
        head.append(f"The newest policy was refused; the one before it stands: {error}")
    head += [f"Review owed: {said}." for said in board.get("reviews", ())]
    if shadow := board.get("shadow"):
        told = ", ".join(f"{n} times {change.replace('_', ' ')}" for change, n in shadow.items())
        head.append(f"Rules in shadow would have decided otherwise: {told}.")
    for kept in board.get("reserved", ()):
        whom = kept["tenant"] or "nobody's work"
        head.append(
            f"Reserved {kept['ident']}: {kept['nodes']} of {kept['pool']} for {whom}, "
            f"{kept['begin'][:16].replace('T', ' ')} to "
            f"{kept['until'][:16].replace('T', ' ')} UTC."
        )
    for hold in orders.get("holds", ()):
        until = hold["until"][:16].replace("T", " ")
        why = f" ({hold['reason']})" if hold["reason"] else ""
        head.append(
            f"{hold['id']}: {hold['by']} holds {named(hold['what'])} until {until} UTC{why}."
        )
    if board["halted"]:
        head.append(f"HALTED: {board['halted']}")
    if board["waiting"]:
        ids = ", ".join(f"{a['id']} {a['title']}" for a in board["waiting"])
        head.append(f"Waits for you: {ids}")
    nodes = _table("Nodes", "node", "pool", "rack", "state", "gpus", "gangs", "what")
    for node in board["nodes"]:
        nodes.add(
            node["name"],
            node["pool"],
            node["rack"],
            node["state"],
            str(len(node["gpus"])),
            ", ".join(node["jobs"]),
            node["what"],
        )
    jobs = _table("Gangs", "gang", "state", "gpus", "nodes", "step", "checkpoint", "requeue")
    for job in board["jobs"]:
        jobs.add(
            job["name"],
            job["state"],
            f"{job['gpus']:g}",
            ", ".join(job["nodes"]),
            _or_dash(job["step"]),
            _or_dash(job["checkpoint_step"]),
            job["requeue"],
        )
    pools = _table("Demand", "pool", "nodes", "running", "pending", "waiting", "1 h (10-50-90 %)")
    for pool in board["pools"]:
        pools.add(
            pool["pool"],
            str(pool["nodes"]),
            f"{pool['running_gpus']:g} of {pool['total_gpus']:g} GPUs",
            f"{pool['pending_gpus']:g}",
            str(pool["waiting_jobs"]),
            _in_an_hour(pool),
        )
    served = _served(board.get("serving", ()))
    waits = [f"Waits: {job['why_waits']}" for job in board["jobs"] if job.get("why_waits")]
    back = [f"{p['pool']}: {said}" for p in board["pools"] for said in p.get("looked_back", ())]
    last = ["", *waits[:MOST_WAITS], *back] if waits or back else []
    return _printed(*head, "", nodes, "", jobs, "", pools, *served, *last)


def _served(plans: Any) -> list[Any]:
    """Model servers, with what each plan says; nothing where none is."""
    if not plans:
        return []
    table = _table(
        "Model servers", "deployment", "pool", "requests/s", "one carries", "replicas", "wanted"
    )
    for plan in plans:
        rate, carries = plan["rate"], plan["carries"]
        table.add(
            plan["name"],
            plan["pool"],
            "unknown" if rate is None else f"{rate:.3g}",
            "unknown" if carries is None else f"{carries:.3g}/s",
            str(plan["now"]),
            _or_dash(plan["replicas"]),
        )
    return ["", table, *(f"{plan['name']}: {plan['why']}" for plan in plans)]


def _in_an_hour(pool: Row) -> str:
    if 3600.0 not in pool["horizons_s"] or not pool["p50"]:
        return str(pool["forecast_why"])
    at = pool["horizons_s"].index(3600.0)
    low, mid, high = pool["p10"][at], pool["p50"][at], pool["p90"][at]
    return f"{low:.0f}-{mid:.0f}-{high:.0f} GPUs, {pool['forecast_method']}"


def _or_dash(value: object) -> str:
    return "-" if value is None else str(value)


def incidents_table(incidents: list[Row]) -> str:
    table = _table("Incidents", "id", "state", "what", "confidence", "opened")
    for i in incidents:
        table.add(i["id"], i["state"], i["title"], f"{i['confidence']:.2f}", i["opened_at"][:19])
    return _printed(table) if incidents else "No incidents."


def approvals_table(asks: list[Row]) -> str:
    table = _table("Waits for you", "id", "what", "why now", "blast radius", "rule", "until")
    for a in asks:
        table.add(
            a["id"], a["title"], a["why_now"], a["blast"], a["rule_where"], a["expires_at"][11:19]
        )
    return _printed(table) if asks else "Nothing waits for you."


def tokens_table(tokens: list[Row]) -> str:
    table = _table("Tokens", "id", "name", "whose", "roles", "until")
    for t in tokens:
        table.add(t["id"], t["name"], t["owner"], ", ".join(t["roles"]), t["expires_at"][:16])
    return _printed(table) if tokens else "There are no tokens."


def log_lines(lines: list[Row]) -> str:
    """The chat stream as text, oldest first."""
    told = []
    for line in lines:
        where = f"  [{line['where']}]" if line["where"] else ""
        said = f"{line['question']} " if line["question"] else ""
        told.append(f"{line['at'][11:19]}  {line['kind']:<14} {said}{line['text']}{where}")
    return harmless("\n".join(told))
