"""Admits gangs to Ray and takes them back: seats first, all of them or none, then the job itself.

Asked by the Ray actuator for `job.place` and `job.preempt`, and by whoever hands in a gang. Seats
are one detached placement group with a label selector for each worker; Ray creates it whole or not
at all, so a gang is never half placed. They are given back when their attempt has ended.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import msgspec

from watchkeeper.adapters.ray_door import RayDoor
from watchkeeper.adapters.ray_fold import newest
from watchkeeper.adapters.ray_gcs import MARKS, Gcs, GroupRow, NodeRow
from watchkeeper.adapters.ray_jobs import JobApi, Submission, latest_attempts, parse_submissions
from watchkeeper.adapters.ray_names import NAMESPACE, parse_seats, seats_name, selector_for
from watchkeeper.adapters.ray_queue import (
    ENDED,
    Asked,
    asked_again,
    forget,
    keep,
    parse_asked,
    read_queue,
)
from watchkeeper.core.action import JobPlace, JobPreempt
from watchkeeper.core.cluster import JobState
from watchkeeper.core.errors import (
    ClusterUnavailable,
    EffectFailed,
    EffectInDoubt,
    Refused,
)

SEATS_S = 4.0
"""Seats that are not whole after so long are given back: somebody else took one of them."""

ORPHAN_S = 120.0
"""Seats whose attempt Ray does not know after so long belong to a submission that never came."""


class Admission:
    """The line's way in and out of one Ray cluster."""

    def __init__(self, gcs: Gcs, door: RayDoor, jobs: JobApi) -> None:
        self._gcs = gcs
        self._door = door
        self._jobs = jobs
        self._lock = threading.Lock()

    # Asked by people and programs.

    def submit(self, body: dict[str, object]) -> str:
        """Take in one gang; it waits for its turn. Returns its name. Raises Malformed, Refused
        (its name is taken), ClusterUnavailable."""
        asked = parse_asked({"at": time.time(), **body})
        latest = self._latest().get(asked.name)
        if latest is not None and latest.state in (JobState.RUNNING, JobState.WAITING):
            raise Refused(f"{asked.name} runs already, as {latest.id}. Choose another name.")
        if latest is not None:  # an ended one: its numbers go on, since Ray keeps their names
            asked = msgspec.structs.replace(asked, attempt=latest.attempt, attempt_id=latest.id)
        if not keep(self._gcs, asked, overwrite=False):
            raise Refused(f"{asked.name} waits already. Choose another name.")
        return asked.name

    def cancel(self, name: str) -> None:
        """Its owner takes a waiting gang back. Raises Refused where it does not wait."""
        if name not in read_queue(self._gcs)[0]:
            raise Refused(f"{name} does not wait for admission.")
        forget(self._gcs, name)

    # Asked by the executor.

    def place(self, action: JobPlace) -> str:
        """Take the seats, then hand the gang to Ray. Raises EffectFailed (nothing runs, no seat is
        held), EffectInDoubt."""
        asked = read_queue(self._gcs)[0].get(action.job)
        if asked is None:
            raise EffectFailed(f"{action.job} does not wait for our admission.")
        waits_as = asked.attempt_id or f"{asked.name}-a0"
        if waits_as != action.attempt_id:
            raise EffectFailed(f"{action.job} waits as {waits_as} now, not {action.attempt_id}.")
        workers = action.workers or len(action.nodes)
        if not (asked.least or asked.workers) <= workers <= asked.workers:
            raise EffectFailed(
                f"{action.job} runs with {asked.least or asked.workers} to {asked.workers} "
                f"workers, not {workers}."
            )
        seats = self._take(asked, action.nodes, workers) if asked.seats else ""
        body = asked.request(seats, action.nodes, workers)
        try:
            ident = self._jobs.submit(body)
        except EffectFailed:
            self._give_back(seats_name(str(body["submission_id"])))
            raise
        forget(self._gcs, asked.name)
        where = ", ".join(action.nodes)
        return f"{asked.name} holds {workers} seats on {where} and was submitted as {ident}."

    def preempt(self, action: JobPreempt) -> str:
        """Ask a running gang to save and stop. What is to become of it is written down first: it
        waits in the line, or (at once) it stands stopped until it is requeued."""
        running = self._latest().get(action.job)
        if running is None or running.id != action.attempt_id:
            raise EffectFailed(f"Ray knows no attempt {action.attempt_id} of {action.job}.")
        if running.state is not JobState.RUNNING:
            raise EffectFailed(f"{action.job} does not run: it is {running.status.lower()}.")
        if why := running.blocked():
            raise EffectFailed(f"{action.job} could not be started again: {why}")
        if action.at_once:
            self._gcs.kv_put(MARKS, ENDED + action.job.encode(), running.id.encode())
        else:
            self._keep_its_place(running)
        try:
            self._jobs.stop(running.id)
        except ClusterUnavailable as err:
            raise EffectInDoubt(str(err)) from err
        except EffectFailed:
            forget(self._gcs, action.job)
            raise
        return f"{action.job} was asked to save and stop ({running.id})."

    def tidy(self) -> int:
        """Give back the seats of attempts that have ended, and forget gangs that run; returns how
        many groups were removed. Raises ClusterUnavailable."""
        with self._lock:
            subs = {sub.id: sub for sub in parse_submissions(self._gcs.submissions())[0]}
            newest_of = latest_attempts(subs.values())
            for name, asked in read_queue(self._gcs)[0].items():
                latest = newest_of.get(name)
                over = latest is not None and latest.state is JobState.SUCCEEDED
                if latest is not None and (latest.attempt > asked.attempt or over):
                    # Handed over and cut off before that was noted; or done.
                    forget(self._gcs, name)
            gone = [group for group in self._groups() if _over(group, subs)]
            for group in gone:
                self._gcs.remove_group(group)
            return len(gone)

    # The steps of it.

    def _take(self, asked: Asked, nodes: Sequence[str], workers: int) -> str:
        """The id of the placement group that holds every seat. Raises EffectFailed."""
        rows = newest(self._gcs.nodes())
        selectors = []
        for number in range(workers):
            name = nodes[number % len(nodes)]
            selectors.append(self._selector(rows, name))
        attempt = f"{asked.name}-a{asked.attempt + 1}"
        try:
            found = self._door.call(
                "take_seats",
                SEATS_S + 15,
                name=seats_name(attempt),
                gpus=[asked.gpus] * workers,
                selectors=selectors,
                spread=len(set(nodes)) == workers,
                timeout_s=SEATS_S,
            )
        except EffectInDoubt as err:
            # Seats alone are not the gang: nothing of it runs, and `tidy` gives them back.
            raise EffectFailed(f"The seats of {asked.name} could not be taken: {err}") from err
        if not found.get("group_id"):
            raise EffectFailed(
                f"The {workers} seats of {asked.name} were not free together within {SEATS_S:g} s. "
                "None is held; it goes on waiting."
            )
        return str(found["group_id"])

    def _selector(self, rows: dict[str, NodeRow], name: str) -> dict[str, str]:
        row = rows.get(name)
        if row is None or not row.alive:
            raise EffectFailed(f"{name} is not alive, so no seat can be taken there.")
        return selector_for(row.labels, name, row.node_id)

    def _keep_its_place(self, running: Submission) -> None:
        drivers = {d.job_id for d in self._gcs.drivers() if d.submission_id == running.id}
        groups = [
            group
            for group in self._gcs.groups()
            if group.job_id in drivers
            or (
                group.namespace == NAMESPACE
                and parse_seats(group.name) == (running.name, running.id)
            )
        ]
        asked = asked_again(running, groups, time.time())
        if asked is None:
            raise EffectFailed(
                f"{running.name} has no placement group, so nobody can say what it would need to "
                "go on. It was not stopped."
            )
        keep(self._gcs, asked)

    def _give_back(self, name: str) -> None:
        for group in self._groups():
            if group.name == name:
                self._gcs.remove_group(group)

    def _groups(self) -> list[GroupRow]:
        return [g for g in self._gcs.groups() if g.namespace == NAMESPACE and parse_seats(g.name)]

    def _latest(self) -> dict[str, Submission]:
        return latest_attempts(parse_submissions(self._gcs.submissions())[0])


def _over(group: GroupRow, subs: dict[str, Submission]) -> bool:
    """Nobody sits there any more, or nobody ever came."""
    seats = parse_seats(group.name)
    sub = subs.get(seats[1]) if seats else None
    if sub is None:
        return time.time() - group.created > ORPHAN_S
    return sub.state not in (JobState.RUNNING, JobState.WAITING)
