"""Is an incident about what an action touches? Asked by the gate before evidence may count, and
by the executor before a fence is released.

Without it a planner could carry the evidence against one node over to any other: two good
witnesses that train-03 is broken say nothing about train-01.
"""

from __future__ import annotations

from watchkeeper.control.books import Books
from watchkeeper.control.life import State
from watchkeeper.core.action import Action, CheckRun, GpuReset, NodeUncordon, kind_of, node_of
from watchkeeper.core.incident import Incident
from watchkeeper.core.proposal import Proposal
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.health.illness import still_ill
from watchkeeper.remedy.verify import answered_since


def concerns(incident: Incident, action: Action, snapshot: Snapshot) -> bool:
    """True when the incident lies on the action's node, on a domain that the node is part of, on
    its gang, or on its pool. An action that names none of these is never refused by it. A check
    belongs to an incident of a gang that the node is part of: it finds out which of them it is."""
    if isinstance(action, CheckRun) and _of_its_gang(incident, action.node, snapshot):
        return True
    if name := node_of(action):
        return _node(incident, name, snapshot)
    if job := str(getattr(action, "job", "")):
        return _job(incident, job, snapshot)
    if pool := str(getattr(action, "pool", "")):
        patient = snapshot.nodes.get(incident.node)
        return incident.target == f"pool:{pool}" or (patient is not None and patient.pool == pool)
    return True


def _node(incident: Incident, name: str, snapshot: Snapshot) -> bool:
    if incident.node:
        return incident.node == name
    node = snapshot.nodes.get(name)
    kind, _, domain = incident.target.partition(":")
    # A pool is not a place where things fail together: that it is short of GPUs is no evidence
    # against any node of it.
    return node is not None and kind != "pool" and node.domains().get(kind) == domain


def _of_its_gang(incident: Incident, name: str, snapshot: Snapshot) -> bool:
    jobs = (snapshot.jobs.get(job) for job in incident.jobs)
    return not incident.node and any(job is not None and name in job.nodes for job in jobs)


def _job(incident: Incident, name: str, snapshot: Snapshot) -> bool:
    job = snapshot.jobs.get(name)
    on_it = job is not None and bool(incident.node) and incident.node in job.nodes
    return on_it or name in incident.jobs or incident.target == f"job:{name}"


def fence_stays(proposal: Proposal, books: Books, snapshot: Snapshot) -> str:
    """Why an agent may not give a node back; "" when it may. A node whose fault is still seen
    would take new work and lose it. A person may, and a fence that itself made things worse is
    taken back in any case."""
    action = proposal.action
    if not isinstance(action, NodeUncordon) or proposal.by.startswith("person:"):
        return ""
    last = next((f for f in books.past() if node_of(f.action) == action.node), None)
    if last is not None and last.state is State.WORSE and kind_of(last.action) == "node.cordon":
        return ""
    for incident in books.incidents.values():
        ill = incident.is_open and incident.node == action.node
        if ill and still_ill(incident, snapshot) is True:
            return f"{incident.id} is still seen on {action.node}: its fence stays."
    return _unanswered(action, books, snapshot)


def _unanswered(action: NodeUncordon, books: Books, snapshot: Snapshot) -> str:
    """A GPU that was reset while its node was out could not be seen then; it must be seen now
    (S21). A person or a new host may do without."""
    for file in books.past():
        last = file.action
        if node_of(last) != action.node or file.effect is None:
            continue
        if kind_of(last) in ("node.replace", "node.reboot"):
            return ""
        if not isinstance(last, GpuReset) or file.state is State.REFUSED:
            continue
        if not answered_since(last.node, last.gpu, snapshot, file.effect.started_at):
            return f"GPU {last.gpu} of {last.node} was reset and has not answered: its fence stays."
    return ""
