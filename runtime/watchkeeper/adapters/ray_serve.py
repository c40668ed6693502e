"""Ray Serve as it tells of itself: deployments from its REST API, requests and latency from the
metrics of the nodes that it runs on. Asked off the turn's thread, from time to time.

Needs no Serve here, only on the cluster. Counters are summed over processes; one that begins anew
begins at zero. What does not answer is unknown, never no load. It changes nothing.
"""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from itertools import islice, pairwise

import msgspec

from watchkeeper.adapters.ray_gcs import Gcs
from watchkeeper.adapters.ray_jobs import JobApi
from watchkeeper.core.clock import Clock
from watchkeeper.core.cluster import ClusterState
from watchkeeper.core.errors import ClusterUnavailable
from watchkeeper.core.serving import PERCENTILES, Serving

APPLICATIONS = "/api/serve/applications/"
CONTROLLER, NAMESPACE = "SERVE_CONTROLLER_ACTOR", "serve"
"""Serve's own name for its controller: without it nothing serves, and the API is not asked."""

ROUTED = "ray_serve_num_router_requests_total"
"""Requests as they arrive at a handle, before they wait for a replica."""
ANSWERED = "ray_serve_http_request_latency_ms_bucket"
"""At the proxies, by application: with the wait, as callers see it."""
PROCESSED = "ray_serve_deployment_processing_latency_ms_bucket"
"""At the replicas: without the wait."""

WINDOW_S = 60.0
STALE = timedelta(minutes=3)

MOST = 64
"""Deployments that are told, by name: whoever may deploy may make up any number of them."""

MOST_COUNTERS = 20_000
"""Of one node: any program in Ray may export metrics of any name."""

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,120}")
"""Names that can be told of, and written into orders; others are left out."""

_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Replica(msgspec.Struct, frozen=True):
    """As the API lists it; node_id is None until it has a place."""

    state: str = ""
    node_id: str | None = None


class Resources(msgspec.Struct, frozen=True):
    gpus: float = msgspec.field(default=0.0, name="GPU")


class Deployment(msgspec.Struct, frozen=True):
    name: str
    target_num_replicas: int | None = None
    required_resources: Resources = Resources()
    replicas: tuple[Replica, ...] = ()


class Topology(msgspec.Struct, frozen=True):
    ingress_deployment: str = ""


class Application(msgspec.Struct, frozen=True):
    deployments: dict[str, Deployment] = {}
    deployment_topology: Topology | None = None


class Proxy(msgspec.Struct, frozen=True):
    node_id: str = ""


class Details(msgspec.Struct, frozen=True):
    """What we read of the API's answer; the rest is left alone."""

    applications: dict[str, Application] = {}
    proxies: dict[str, Proxy] = {}

    def nodes(self) -> set[str]:
        """Ids of the nodes on which something of Serve runs."""
        found = {proxy.node_id for proxy in self.proxies.values()}
        for app in self.applications.values():
            for each in app.deployments.values():
                found |= {replica.node_id for replica in each.replicas if replica.node_id}
        return found - {""}


Key = tuple[str, str, str]
"""(metric, application, deployment); the deployment is "" for what proxies count."""


def counters(text: str) -> dict[tuple[Key, float, str], float]:
    """(key, upper edge of the bucket in ms, which process) -> count, from Prometheus text. Lines
    of other metrics, and lines that are no such line, are left out."""
    found: dict[tuple[Key, float, str], float] = {}
    for line in text.splitlines():
        name = line.partition("{")[0]
        if name not in (ROUTED, ANSWERED, PROCESSED):
            continue
        labels = dict(_LABEL.findall(line))
        key = (name, labels.get("application", ""), labels.get("deployment", ""))
        try:
            edge, value = float(labels.pop("le", "nan")), float(line.rpartition(" ")[2])
        except ValueError:
            continue
        who = "/".join(labels.get(k, "") for k in ("WorkerId", "replica", "handle", "route"))
        who += "/".join(labels.get(k, "") for k in ("method", "status_code"))
        found[key, edge if name != ROUTED else 0.0, who] = value
        if len(found) >= MOST_COUNTERS:
            break
    return found


def quantile(buckets: Mapping[float, float], level: float) -> float | None:
    """In the unit of the edges, from cumulative counts by upper edge; a straight line within a
    bucket, as Prometheus has it. The last finite edge where more was above it; None of nothing."""
    edges = sorted(buckets)
    total = buckets[edges[-1]] if edges else 0.0
    if total <= 0:
        return None
    rank, low = level * total, 0.0
    for before, edge in pairwise([0.0, *edges]):
        if buckets[edge] >= rank:
            if edge == float("inf"):
                return before
            inside = buckets[edge] - low
            return before + (edge - before) * ((rank - low) / inside if inside > 0 else 1.0)
        low = buckets[edge]
    return edges[-1]


class Tally:
    """Adds up counters of many processes over looks, so that a time between two of them can be
    told. The first look of a source says nothing of what came before it."""

    def __init__(self, window_s: float = WINDOW_S) -> None:
        self._window_s = window_s
        self._last: dict[str, dict[tuple[Key, float, str], float]] = {}
        self._sums: dict[tuple[Key, float], float] = defaultdict(float)
        self._looks: deque[tuple[float, dict[tuple[Key, float], float]]] = deque()

    def add(self, steady: float, told: Mapping[str, str]) -> None:
        """One look: text by source. A source that is missing did not answer."""
        for source, text in told.items():
            known, now = self._last.get(source), counters(text)
            for place, value in now.items():
                before = value if known is None else known.get(place, 0.0)
                self._sums[place[0], place[1]] += value - before if value >= before else value
            self._last[source] = now  # processes that ended are forgotten with their counts
        self._looks.append((steady, dict(self._sums)))
        while len(self._looks) > 2 and steady - self._looks[1][0] >= self._window_s:
            self._looks.popleft()

    @property
    def span_s(self) -> float:
        """The time that the looks kept span; 0 before the second."""
        return self._looks[-1][0] - self._looks[0][0] if self._looks else 0.0

    def came(self, key: Key) -> dict[float, float]:
        """Increase of each bucket of a key in that time; {} where it never counted."""
        first, last = self._looks[0][1], self._looks[-1][1]
        return {
            edge: value - first.get((k, edge), 0.0) for (k, edge), value in last.items() if k == key
        }


class RayServe:
    """What serves on one cluster. One caller at a time; `latest` may be read by any thread.

    gcs: closed with it. api: the dashboard's. window_s: what rates and latencies are of. fetch: the
    metrics at a URL.
    """

    def __init__(
        self,
        gcs: Gcs,
        api: JobApi,
        clock: Clock,
        window_s: float = WINDOW_S,
        fetch: Callable[[str], str] | None = None,
    ) -> None:
        self._gcs = gcs
        self._api = api
        self._clock = clock
        self._tally = Tally(window_s)
        self._fetch = fetch or _text
        self._found: tuple[Serving, ...] = ()

    @property
    def latest(self) -> tuple[Serving, ...]:
        """As last read; nothing once that is older than three minutes."""
        found = self._found
        fresh = bool(found) and self._clock.now() - found[0].read_at < STALE
        return found if fresh else ()

    def look(self, state: ClusterState) -> None:
        """Read it anew. Raises ClusterUnavailable; what was read before then stands until it is
        stale."""
        if not any(a.name == CONTROLLER and a.namespace == NAMESPACE for a in self._gcs.actors()):
            self._found = ()
            return
        try:
            details = msgspec.convert(self._api.read(APPLICATIONS) or {}, Details, strict=False)
        except msgspec.ValidationError as err:
            raise ClusterUnavailable(f"Serve's answer is not understood: {err}") from err
        told, where = {}, details.nodes()
        for row in self._gcs.nodes():
            if row.alive and row.node_id in where and row.metrics_port:
                url = f"http://{row.address}:{row.metrics_port}/metrics"
                told[row.node_id] = self._fetch(url)
        self._tally.add(self._clock.steady(), told)
        pools = {n.incarnation: n.pool for n in state.nodes.values()}
        self._found = tuple(islice(self._deployments(details, pools), MOST))

    def close(self) -> None:
        self._gcs.close()

    def _deployments(self, details: Details, pools: Mapping[str, str]) -> Iterable[Serving]:
        at, span = self._clock.now(), self._tally.span_s
        for app, told in sorted(details.applications.items()):
            ingress = told.deployment_topology and told.deployment_topology.ingress_deployment
            for name, each in sorted(told.deployments.items()):
                if not (_NAME.fullmatch(app) and _NAME.fullmatch(name)):
                    continue
                ready = [r for r in each.replicas if r.state == "RUNNING"]
                placed = sorted(pools.get(r.node_id or "", "") for r in each.replicas)
                came = sum(self._tally.came((ROUTED, app, name)).values()) if span else 0.0
                whole = name == ingress and any(self._tally.came((ANSWERED, app, "")).values())
                key = (ANSWERED, app, "") if whole else (PROCESSED, app, name)
                yield Serving(
                    name=f"{app}/{name}",
                    pool=max(placed, key=lambda pool: (bool(pool), placed.count(pool)), default=""),
                    replicas=len(ready),
                    wanted=each.target_num_replicas or len(each.replicas),
                    gpus=each.required_resources.gpus,
                    read_at=at,
                    rate=came / span if span else None,
                    latency_s=self._latency(key),
                    span_s=span,
                    whole=whole,
                )

    def _latency(self, key: Key) -> tuple[float, ...]:
        buckets = self._tally.came(key)
        found = [quantile(buckets, level / 100) for level in PERCENTILES]
        return tuple(ms / 1000 for ms in found if ms is not None)


def _text(url: str) -> str:
    """The metrics of one node. Raises ClusterUnavailable."""
    import httpx

    try:
        reply = httpx.get(url, timeout=5.0, trust_env=False)
        return reply.raise_for_status().text
    except httpx.HTTPError as err:
        raise ClusterUnavailable(f"{url} does not answer: {err!r}") from err
