"""Jobs as Ray's job API keeps them: what they were asked to be, and how to ask for them again.

The spec of a submission is read from the GCS, whoever submitted it; a new attempt goes through
the public REST API. Ray itself refuses a submission id that exists, which makes a requeue safe to
repeat.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from watchkeeper.core.cluster import Job, JobState
from watchkeeper.core.errors import ClusterUnavailable, EffectFailed, EffectInDoubt
from watchkeeper.core.word import utc

JOB = "watchkeeper.job"
ATTEMPT = "watchkeeper.attempt"
POOL = "watchkeeper.pool"

DRIVER_BLOCKED = (
    "Started as a plain driver, not through the job API: Ray keeps no entrypoint to submit again."
)

_STATES = {
    "PENDING": JobState.WAITING,
    "RUNNING": JobState.RUNNING,
    "SUCCEEDED": JobState.SUCCEEDED,
    "STOPPED": JobState.CANCELLED,
    "FAILED": JobState.STOPPED,
}
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt as the job API stored it; times in epoch milliseconds."""

    status: str
    entrypoint: str = ""
    message: str | None = None
    start_time: int | None = None
    end_time: int | None = None
    metadata: dict[str, str] | None = None
    runtime_env_json: str | None = None
    entrypoint_num_cpus: float | None = None
    entrypoint_num_gpus: float | None = None
    entrypoint_memory: int | None = None
    entrypoint_resources: dict[str, float] | None = None
    id: str = ""

    @property
    def name(self) -> str:
        """The job's name over all attempts: ours if it has one, else its submission id."""
        name = (self.metadata or {}).get(JOB, "")
        return name if _NAME.fullmatch(name) else self.id

    @property
    def attempt(self) -> int:
        """1 for what a user submitted; the number we wrote for what we submitted again."""
        text = (self.metadata or {}).get(ATTEMPT, "1")
        return int(text) if text.isdecimal() and 1 <= int(text) < 1_000_000 else 1

    @property
    def state(self) -> JobState:
        return _STATES.get(self.status, JobState.WAITING)

    @property
    def since_s(self) -> float:
        """When this state began, as far as the job API tells."""
        ended = self.state in (JobState.STOPPED, JobState.CANCELLED, JobState.SUCCEEDED)
        stamp = self.end_time if ended and self.end_time else self.start_time
        return (stamp or 0) / 1000

    def blocked(self) -> str:
        """Why it cannot be submitted again, in one sentence; empty when it can."""
        if not self.entrypoint:
            return "Ray's job API keeps no entrypoint of it."
        return ""

    def request(self, attempt: int) -> dict[str, Any]:
        """The REST body that submits it again as this attempt."""
        body: dict[str, Any] = {
            "entrypoint": self.entrypoint,
            "submission_id": f"{self.name}-a{attempt}",
            "runtime_env": msgspec.json.decode(self.runtime_env_json or "{}"),
            "metadata": {**(self.metadata or {}), JOB: self.name, ATTEMPT: str(attempt)},
            "entrypoint_num_cpus": self.entrypoint_num_cpus,
            "entrypoint_num_gpus": self.entrypoint_num_gpus,
            "entrypoint_memory": self.entrypoint_memory,
            "entrypoint_resources": self.entrypoint_resources,
        }
        # Ray adds these to the metadata of what runs; handing them back would claim a past driver.
        body["metadata"].pop("job_submission_id", None)
        return {key: value for key, value in body.items() if value is not None}


def parse_submissions(records: Mapping[str, bytes]) -> tuple[list[Submission], list[str]]:
    """Stored records to submissions; ids of those that could not be read come second."""
    good: list[Submission] = []
    bad: list[str] = []
    for ident, raw in records.items():
        try:
            record = msgspec.json.decode(raw, type=Submission)
        except msgspec.MsgspecError:
            bad.append(ident)
            continue
        good.append(msgspec.structs.replace(record, id=ident))
    return good, bad


def latest_attempts(submissions: Iterable[Submission]) -> dict[str, Submission]:
    """Job name -> its newest attempt; older attempts are history."""
    latest: dict[str, Submission] = {}
    for sub in submissions:
        other = latest.get(sub.name)
        key = (sub.attempt, sub.start_time or 0)
        if other is None or key > (other.attempt, other.start_time or 0):
            latest[sub.name] = sub
    return latest


def job_of(sub: Submission) -> Job:
    """A submission as a Job, before its workers are known."""
    metadata = dict(sub.metadata or {})
    priority = metadata.get("priority", "0")
    return Job(
        name=sub.name,
        attempt_id=sub.id,
        state=sub.state,
        state_since=utc(sub.since_s),
        attempt=sub.attempt,
        tenant=metadata.get("tenant", ""),
        priority=int(priority) if re.fullmatch(r"-?\d{1,6}", priority) else 0,
        pool=metadata.get(POOL, ""),
        gpus=float(sub.entrypoint_num_gpus or 0.0),
        requeue_blocked=sub.blocked(),
        metadata=metadata,
    )


class JobApi:
    """The public job REST API of one cluster.

    url: such as `http://127.0.0.1:8265`. timeout_s: per call.
    """

    def __init__(self, url: str, timeout_s: float = 20.0) -> None:
        self.url = url.rstrip("/")
        self._timeout = timeout_s

    def submit(self, body: Mapping[str, Any]) -> str:
        """Submit one job; returns its submission id. A repeat of a taken id counts as done.

        Raises EffectFailed (refused, or nobody listens), EffectInDoubt (taken, and no answer).
        """
        import httpx

        try:
            with httpx.Client(timeout=self._timeout, trust_env=False) as client:
                reply = client.post(f"{self.url}/api/jobs/", json=dict(body), headers=_auth())
        except httpx.ConnectError as err:
            raise EffectFailed(f"The job API at {self.url} does not answer: {err}") from err
        except httpx.HTTPError as err:
            raise EffectInDoubt(
                f"The job API at {self.url} took the submission and did not answer: {err!r}"
            ) from err
        ident = str(body.get("submission_id", ""))
        if reply.status_code == 200:
            return str(reply.json().get("submission_id", ident))
        if "already exists" in reply.text and ident:
            return ident
        last = reply.text.strip().splitlines()[-1:] or ["no text"]
        raise EffectFailed(f"The job API refused {ident}: {last[0][:300]}")

    def read(self, path: str) -> Any:
        """What the dashboard answers to a GET, as JSON; None where it knows no such path. Raises
        ClusterUnavailable."""
        import httpx

        try:
            with httpx.Client(timeout=self._timeout, trust_env=False) as client:
                reply = client.get(f"{self.url}{path}", headers=_auth())
            if reply.status_code in (404, 501):
                return None
            return reply.raise_for_status().json()
        except (httpx.HTTPError, ValueError) as err:
            raise ClusterUnavailable(f"{self.url}{path} does not answer: {err!r}") from err

    def stop(self, ident: str) -> None:
        """Ask a running job to stop. Raises ClusterUnavailable (no answer), EffectFailed."""
        import httpx

        try:
            with httpx.Client(timeout=self._timeout, trust_env=False) as client:
                reply = client.post(f"{self.url}/api/jobs/{ident}/stop", headers=_auth())
        except httpx.HTTPError as err:
            raise ClusterUnavailable(f"The job API at {self.url} does not answer: {err}") from err
        if reply.status_code >= 400:
            raise EffectFailed(f"The job API refused to stop {ident}: {reply.text[:300]}")


def _auth() -> dict[str, str]:
    """Ray's own token header, where the cluster asks for one."""
    import os

    if os.environ.get("RAY_AUTH_MODE", "").lower() != "token":
        return {}
    from ray._private.authentication.http_token_authentication import (
        get_auth_headers_if_auth_enabled,
    )

    return dict(get_auth_headers_if_auth_enabled({}))
