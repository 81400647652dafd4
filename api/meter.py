"""`/metrics`: how the service fares, in Prometheus' format. Numbers only: no name of a study, a machine or a person is told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import get_args

from prometheus_client import CollectorRegistry, GCCollector, Histogram, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from starlette.types import Scope

from studies.errors import FailureKind
from tuner.db import count_rows, study_rows, worker_rows
from tuner.health import free_bytes, problems
from tuner.records import STUDY_STATES, TRIAL_STATES, Worker
from tuner.service import Service, utc_now

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 20.0)
SILENT = timedelta(minutes=1)  # a worker that has said nothing for so long counts as gone


class Meter:
    """Counts the requests of one application; what the rows say is read when somebody asks."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)
        labels = ["method", "route", "status"]
        self._requests = Histogram(
            "tuner_http_request_seconds", "Requests answered", labels, buckets=_SECONDS, registry=self._registry
        )
        self._children: dict[tuple[str, str, int], Histogram] = {}

    def answered(self, scope: Scope, status: int, seconds: float) -> None:
        """A request has been answered; those that match no route are one series, or anybody could make new ones."""
        key = (scope["method"], getattr(scope.get("route"), "path", "none"), status)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = self._requests.labels(*key)
        child.observe(seconds)

    def text(self, service: Service) -> bytes:
        """All of it."""
        rows = CollectorRegistry()
        rows.register(_Rows(list(row_metrics(service, utc_now()))))
        return generate_latest(rows) + generate_latest(self._registry)


class _Rows:
    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def row_metrics(service: Service, now: datetime) -> Iterable[Metric]:
    """What the rows say now. Raises Unavailable."""
    with service.ledger.read() as connection:
        studies = count_rows.count_studies(connection)
        trials = count_rows.count_all_trials(connection)
        failures = count_rows.count_failures(connection)
        demand = sum(count for _, count in study_rows.demand(connection))
        workers = [worker for worker in worker_rows.list_workers(connection) if now - worker.seen_at < SILENT]
    yield _by("tuner_studies", "Studies", "state", {state: studies.get(state, 0) for state in STUDY_STATES})
    yield _by("tuner_trials", "Trials", "state", {state: trials.get(state, 0) for state in TRIAL_STATES})
    kinds = get_args(FailureKind)
    yield _by("tuner_trials_failed", "Trials that failed", "kind", {kind: failures.get(kind, 0) for kind in kinds})
    yield GaugeMetricFamily("tuner_trials_demanded", "Trials that run, or could if there were workers", demand)
    yield GaugeMetricFamily("tuner_workers", "Workers heard of within the last minute", len(workers))
    yield from _gpu_metrics(workers)
    wrong = problems(service)
    yield GaugeMetricFamily("tuner_ready", "Whether nothing is wrong, as /readyz tells it", int(not wrong))
    yield GaugeMetricFamily("tuner_home_free_bytes", "Free on the disk of the home folder", free_bytes(service.settings.home))


def _gpu_metrics(workers: list[Worker]) -> Iterable[Metric]:
    gpus = [gpu for worker in workers for gpu in worker.gpus]
    usable = [gpu for gpu in gpus if "set_aside" not in gpu]
    yield _by("tuner_gpus", "GPUs of those workers", "state", {"usable": len(usable), "set_aside": len(gpus) - len(usable)})
    for key, name, what in (
        ("memory", "tuner_gpu_memory_bytes", "Memory of usable GPUs"),
        ("memory_used", "tuner_gpu_memory_used_bytes", "Memory taken on usable GPUs"),
        ("utilisation", "tuner_gpu_utilisation_percent_sum", "Utilisation of usable GPUs, added up: divide by their number"),
    ):
        told = [gpu[key] for gpu in usable if isinstance(gpu.get(key), int | float)]
        yield GaugeMetricFamily(name, what, sum(told))


def _by(name: str, what: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = GaugeMetricFamily(name, what, labels=[label])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family
