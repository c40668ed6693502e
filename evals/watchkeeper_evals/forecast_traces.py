"""Public traces as series, by the layout of their files: `eval forecast --traces DIR`.

No trace is shipped. A series whose name hashes odd was kept unseen while the engine was developed,
so that the figures on those are figures of a method that never met them; Venus is told apart.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from watchkeeper.core.errors import UsageError
from watchkeeper.demand.series import Floats, Series
from watchkeeper_evals.forecast_read import Columns, read_series, series_of

HOUR = 3600.0

LEAST_CHANGE = 0.15
"""A service whose capacity changes in fewer of its hours has nothing to forecast."""


def unseen(name: str) -> bool:
    """This series (by its virtual cluster, service or file) was not looked at in development."""
    return bool(hashlib.sha256(name.encode()).digest()[-1] % 2)


def series_in(folder: Path, step_s: float) -> Iterator[tuple[str, bool, Series]]:
    """(name, unseen in development, series) for every file below `folder` whose layout is known.
    Raises UsageError where there is none."""
    found = False
    for path in sorted(folder.rglob("*.csv.gz")):
        read = next((how for end, how in LAYOUTS.items() if path.name.endswith(end)), None)
        if read is not None:
            found = True
            yield from read(path, step_s)
    if not found:
        raise UsageError(f"{folder}: no file of a known layout ({', '.join(LAYOUTS)}).")


def _throughput(path: Path, step_s: float) -> Iterator[tuple[str, bool, Series]]:
    """Flows of one Helios cluster: GPUs submitted, started and ended in each ten minutes."""
    cluster = path.parent.name
    for kind, value in (("running", "start_gpu_num"), ("demand", "submit_gpu_num")):
        columns = Columns("time", f"{value}-end_gpu_num", cumulate=True)
        # The first 60 % of its days were development, the test days were not.
        yield f"{cluster}/{kind}", True, read_series(path, columns, step_s)


def _virtual_clusters(path: Path, step_s: float) -> Iterator[tuple[str, bool, Series]]:
    """GPUs running and pending in each virtual cluster of Helios Earth, ten-minute means."""
    found: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    with gzip.open(path, "rt", newline="") as file:
        for row in csv.DictReader(file):
            at = datetime.fromisoformat(row["time"]).replace(tzinfo=UTC).timestamp()
            running, pending = float(row["running_gpu_num"]), float(row["pending_gpu_num"])
            found[row["vc"]].append((at, running, pending))
    for name, rows in sorted(found.items()):
        times, running_gpus, pending_gpus = np.asarray(rows).T
        for kind, values in (("running", running_gpus), ("demand", running_gpus + pending_gpus)):
            if values.max() > 0:
                made = series_of(times, values, step_s, cumulate=False)
                yield f"earth/{name}/{kind}", unseen(name), made


def _services(path: Path, step_s: float) -> Iterator[tuple[str, bool, Series]]:
    """Capacity held by inference services (Alibaba, 2025): GPUs of HN, vCPUs of CN instances, of
    all together and of each service that changes often enough."""
    held: dict[tuple[str, str], list[tuple[float, float, float]]] = defaultdict(list)
    days = 31 * 86400.0
    with gzip.open(path, "rt", newline="") as file:
        for row in csv.DictReader(file):
            begin = float(row["scheduled_time"] or row["creation_time"] or 0)
            end = float(row["deletion_time"] or days)
            size = float(row["gpu_request" if row["role"] == "HN" else "cpu_request"] or 0)
            for service in (row["app_name"], "all"):
                held[row["role"], service].append((begin, end, size))
    for (role, service), spans in sorted(held.items()):
        values = _held(np.asarray(spans), step_s, days)
        if float(np.mean(np.diff(values) != 0)) >= LEAST_CHANGE:
            times = step_s * np.arange(len(values), dtype=np.float64)
            made = series_of(times, values, step_s, cumulate=False)
            yield f"dlrm/{role}/{service}", unseen(service), made


def _held(spans: Floats, step_s: float, until: float) -> Floats:
    """Mean of what was held in each step, from (begin, end, size) spans."""
    edges = np.arange(0, until + 1, step_s)
    # What was held up to each edge, as an integral over all spans; its difference is the mean.
    begin, end, size = spans[spans[:, 1] > spans[:, 0]].T
    sofar = np.array([(size * np.clip(np.minimum(end, e) - begin, 0, None)).sum() for e in edges])
    return np.asarray(np.diff(sofar) / step_s)


def _requests(path: Path, step_s: float) -> Iterator[tuple[str, bool, Series]]:
    """Requests a second of one model server (Azure, 2023): about an hour of them."""
    name = path.name.removesuffix(".csv.gz")
    times = []
    with gzip.open(path, "rt", newline="") as file:
        for row in csv.DictReader(file):
            clock = row["TIMESTAMP"].split(" ")[1].split(":")
            times.append(float(clock[0]) * 3600 + float(clock[1]) * 60 + float(clock[2]))
    step = min(step_s, 60.0)
    counts = np.bincount(((np.asarray(times) - min(times)) // step).astype(int)) / step
    starts = step * np.arange(len(counts), dtype=np.float64)
    made = series_of(starts, counts, step, cumulate=False)
    yield f"azure/{name}", unseen(name), made


LAYOUTS: dict[str, Callable[[Path, float], Iterator[tuple[str, bool, Series]]]] = {
    "cluster_throughput.csv.gz": _throughput,
    "vcs_10min.csv.gz": _virtual_clusters,
    "disaggregated_DLRM_trace.csv.gz": _services,
    "AzureLLMInferenceTrace_code.csv.gz": _requests,
    "AzureLLMInferenceTrace_conv.csv.gz": _requests,
}
