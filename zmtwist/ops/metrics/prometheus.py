"""Metrics for Prometheus, read off the parts when they are asked for; nothing is counted twice or kept here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

from zmtwist._version import __version__
from zmtwist.fleet.process.state import State
from zmtwist.fleet.status import WorkerStatus
from zmtwist.ingest.service import Ingest
from zmtwist.ingest.thumbnails.queue import REASONS, ThumbnailFigures
from zmtwist.ingest.writer.histogram import Latencies
from zmtwist.ops.metrics.counters import Figures
from zmtwist.ops.service_view import Running
from zmtwist.reactor.lag import Lag
from zmtwist.recovery.actions import KINDS, NOTHING_DONE
from zmtwist.untrusted.budget import Kind

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

MONITOR = ("monitor",)


class Served(Protocol):
    """How clients of the API fare: counts since the start, but for `streams`, which are open now."""

    @property
    def streams(self) -> int:
        """Clients of the event stream."""

    @property
    def refused(self) -> Mapping[str, int]:
        """What there was no place for, by kind."""

    @property
    def cuts(self) -> int:
        """Connections that were ended from here."""

    @property
    def live_missed(self) -> Mapping[str, int]:
        """Frames of live views that were left out, by who could not take them."""


class Metrics:
    """All metrics of one service, in a registry of their own."""

    def __init__(
        self,
        reactor: Any,
        running: Running,
        figures: Figures,
        lag: Lag,
        served: Served,
        started_us: int,
    ) -> None:
        self._reactor = reactor
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_ServiceCollector(running, lag, started_us))
        self._registry.register(_ServedCollector(served))
        self._registry.register(_FleetCollector(running, figures))
        self._registry.register(_BudgetCollector(running))
        self._registry.register(_IngestCollector(running))
        self._registry.register(_RecoveryCollector(running))

    def text(self) -> Deferred[bytes]:
        """The metrics in Prometheus' text format. They are collected at once; writing them out takes long enough for a thread."""
        collected = _Collected(tuple(self._registry.collect()))
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), generate_latest, collected)


class _Collected(Collector):
    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        return iter(self._metrics)


class _ServiceCollector(Collector):
    def __init__(self, running: Running, lag: Lag, started_us: int) -> None:
        self._running = running
        self._lag = lag
        self._started_us = started_us

    def collect(self) -> Iterator[Metric]:
        fleet = self._running.fleet
        yield InfoMetricFamily("zmnext_build", "The running version.", {"version": __version__})
        yield _gauge("zmnext_start_time_seconds", "When the service was started.", self._started_us / 1e6)
        yield _gauge("zmnext_fleet_running", "1 while the fleet is up.", fleet is not None and fleet.running)
        away = self._running.waiting_for is not None or (fleet is not None and fleet.catalog_error is not None)
        yield _gauge("zmnext_database_away", "1 while the database can't be read.", away)
        inference = fleet.inference if fleet is not None else None
        if inference is not None and inference.state is not State.STOPPED:
            live = inference.state is State.LIVE
            yield _gauge("zmnext_inference_up", "1 while the shared inference runs and its socket has answered.", live)
            yield _gauge("zmnext_inference_restarts_last_hour", "Its restarts.", inference.restarts_last_hour)
        yield _gauge("zmnext_reactor_lag_seconds", "How late the last timer of the event loop was.", self._lag.last)
        yield _gauge("zmnext_reactor_lag_max_seconds", "The most of the last minute.", self._lag.longest)


class _ServedCollector(Collector):
    def __init__(self, served: Served) -> None:
        self._served = served

    def collect(self) -> Iterator[Metric]:
        yield _gauge("zmnext_event_streams", "Clients of /api/stream.", self._served.streams)
        yield _by("zmnext_api_refused", "What clients of the API got no place for.", "kind", self._served.refused)
        yield _counter("zmnext_api_cut", "Connections of clients that were cut, or gave way.", self._served.cuts)
        missed = "Frames of live views that came too fast, or were too large."
        yield _by("zmnext_live_missed", missed, "by", self._served.live_missed)


class _BudgetCollector(Collector):
    def __init__(self, running: Running) -> None:
        self._running = running

    def collect(self) -> Iterator[Metric]:
        fleet = self._running.fleet
        held = CounterMetricFamily(
            "zmnext_monitor_held_back",
            "What was left out because it was more than is taken of one camera.",
            labels=("monitor", "kind"),
        )
        for told in fleet.status() if fleet is not None else ():
            counts = self._running.budgets.of(told.monitor_id).held
            for kind in Kind:
                held.add_metric((str(told.monitor_id), kind.value), counts[kind])
        yield held


class _FleetCollector(Collector):
    def __init__(self, running: Running, figures: Figures) -> None:
        self._running = running
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        fleet = self._running.fleet
        workers = fleet.status() if fleet is not None else ()
        state = GaugeMetricFamily("zmnext_monitor_state", "1 for the state it is in.", labels=("monitor", "state"))
        for told in workers:
            for one in State:
                state.add_metric((str(told.monitor_id), one.value), told.state is one)
        yield state
        names = InfoMetricFamily("zmnext_monitor", "The monitor's name.", labels=MONITOR)
        for told in workers:
            names.add_metric((str(told.monitor_id),), {"name": self._running.names.get(told.monitor_id, "")})
        yield names
        yield from _gauges(workers)
        yield from self._counters(workers)

    def _counters(self, workers: Sequence[WorkerStatus]) -> Iterator[Metric]:
        of = self._figures.of
        yield _per_monitor(
            CounterMetricFamily,
            "worker_failures",
            "Times its worker failed.",
            workers,
            lambda w: of(w.monitor_id).failures,
        )
        yield _per_monitor(
            CounterMetricFamily, "events_opened", "Events opened.", workers, lambda w: of(w.monitor_id).opened
        )
        yield _per_monitor(
            CounterMetricFamily, "events_closed", "Events closed.", workers, lambda w: of(w.monitor_id).closed
        )
        yield _per_monitor(
            CounterMetricFamily,
            "recorded_frames",
            "Frames of closed events.",
            workers,
            lambda w: of(w.monitor_id).frames,
        )
        yield _per_monitor(
            CounterMetricFamily,
            "alarm_frames",
            "Alarm frames of closed events.",
            workers,
            lambda w: of(w.monitor_id).alarm_frames,
        )
        yield _per_monitor(
            CounterMetricFamily,
            "worker_events",
            "Messages from its worker's plugins.",
            workers,
            lambda w: w.worker_events,
        )
        yield _per_monitor(
            CounterMetricFamily,
            "worker_events_missed",
            "Such messages that were not received.",
            workers,
            lambda w: w.missed_events,
        )
        yield _per_monitor(
            CounterMetricFamily,
            "worker_lines_unlogged",
            "Lines of its worker's output that were only counted.",
            workers,
            lambda w: w.unlogged_lines,
        )


def _gauges(workers: Sequence[WorkerStatus]) -> Iterator[Metric]:
    yield _per_monitor(
        GaugeMetricFamily,
        "not_recording",
        "1 while it is meant to record, and nothing of its camera or not all is recorded.",
        workers,
        lambda w: float(w.not_recording is not None),
    )
    yield _per_monitor(GaugeMetricFamily, "capture_fps", "Frames a second.", workers, lambda w: w.frames_per_second)
    yield _per_monitor(
        GaugeMetricFamily, "media_age_seconds", "Since media were last seen.", workers, lambda w: w.media_age_seconds
    )
    yield _per_monitor(
        GaugeMetricFamily, "restarts_last_hour", "Restarts of its worker.", workers, lambda w: w.restarts_last_hour
    )


class _IngestCollector(Collector):
    def __init__(self, running: Running) -> None:
        self._running = running

    def collect(self) -> Iterator[Metric]:
        ingest = self._running.ingest
        if ingest is None:
            return
        writer, figures = ingest.writer, ingest.writer.figures
        yield _gauge("zmnext_ingest_queued", "Changes that wait for the database.", writer.queued)
        yield _gauge("zmnext_ingest_largest_batch", "The most changes in one transaction.", figures.largest_batch)
        yield _counter("zmnext_ingest_batches", "Transactions committed.", figures.batches)
        yield _counter("zmnext_ingest_changes", "Changes committed.", figures.committed)
        yield _counter("zmnext_ingest_retries", "Batches tried again.", figures.retries)
        yield _counter("zmnext_ingest_unsure", "Commits whose answer was lost.", figures.unsure)
        dropped = {
            "refused": figures.refused,
            "orphaned": figures.orphaned,
            "gave_way": figures.spool.gave_way,
            "unreadable": figures.spool.unreadable,
        }
        yield _by("zmnext_ingest_dropped", "Changes that are not in the database.", "reason", dropped)
        yield _gauge("zmnext_spool_changes", "Changes that wait on disk.", figures.spool.now)
        yield _gauge("zmnext_spool_bytes", "What they take there.", figures.spool.bytes)
        yield _gauge(
            "zmnext_spool_trouble", "1 while the spool can't be written or read.", figures.spool.trouble is not None
        )
        yield _counter("zmnext_spool_spooled", "Changes that went through the spool.", figures.spool.ever)
        yield from _storages(ingest)
        yield _kinds(ingest)
        yield from _left_out(ingest)
        if ingest.thumbnails is not None:
            yield from _thumbnails(ingest.thumbnails.figures)
        yield _histogram("zmnext_commit_seconds", "Time for one transaction.", writer.commit_seconds)
        yield _histogram(
            "zmnext_assign_seconds",
            "From a clip's opening being heard until its worker knew its event.",
            ingest.assign_seconds,
        )


class _RecoveryCollector(Collector):
    def __init__(self, running: Running) -> None:
        self._running = running

    def collect(self) -> Iterator[Metric]:
        if self._running.recovery is None:
            return
        figures = self._running.recovery.figures
        acted = {name: figures.acted[kind] for kind, name in KINDS.items() if kind not in NOTHING_DONE}
        yield _by("zmnext_recovery_actions", "What was done about rows and clips that did not fit.", "kind", acted)
        yield _counter("zmnext_recovery_failed", "What of it could not be done.", figures.failed)
        yield _gauge(
            "zmnext_recovery_stopped",
            "Storages left alone by the latest pass, for a human to look at.",
            figures.stopped,
        )
        yield _gauge(
            "zmnext_recovery_trouble", "1 while the latest pass could not be made.", figures.trouble is not None
        )


def _storages(ingest: Ingest) -> Iterator[Metric]:
    free = GaugeMetricFamily("zmnext_storage_free_bytes", "What is left for recordings.", labels=("storage",))
    trouble = GaugeMetricFamily(
        "zmnext_storage_trouble", "1 while it can't be recorded to as it should.", labels=("storage",)
    )
    for root, one in ingest.storages.known.items():
        if one.seen is not None:
            free.add_metric((root,), one.seen.free_bytes)
        trouble.add_metric((root,), one.trouble is not None)
    yield free
    yield trouble


def _kinds(ingest: Ingest) -> Metric:
    kinds = dict(sorted(ingest.kinds.items()))
    return _by("zmnext_worker_messages", "Messages from workers' plugins, by kind.", "kind", kinds)


def _left_out(ingest: Ingest) -> Iterator[Metric]:
    """What workers said that made no rows, for there was too much of it, or it made no sense."""
    folded = CounterMetricFamily(
        "zmnext_monitor_folded", "What was left out by the bounds on a monitor's rows.", labels=("monitor", "kind")
    )
    for monitor_id in sorted(ingest.health):
        frames, data = ingest.folded(monitor_id)
        folded.add_metric((str(monitor_id), "frames"), frames)
        folded.add_metric((str(monitor_id), "data"), data)
    yield folded
    assets = {"noted": ingest.synopses.noted, "refused": ingest.synopses.refused}
    yield _by("zmnext_review_assets", "Review assets that workers spoke of.", "outcome", assets)


def _thumbnails(figures: ThumbnailFigures) -> Iterator[Metric]:
    yield _counter("zmnext_thumbnails_made", "Pictures of events made.", figures.made)
    yield _counter("zmnext_thumbnails_failed", "Clips of which one could not be made.", figures.failed)
    skipped: dict[str, float] = {reason: figures.skipped[reason] for reason in REASONS}
    yield _by("zmnext_thumbnails_skipped", "Clips left out, by reason.", "reason", skipped)


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(name, what, value=float(value))


def _counter(name: str, what: str, value: float) -> Metric:
    return CounterMetricFamily(name, what, value=value)


def _by(name: str, what: str, label: str, values: Mapping[str, float]) -> Metric:
    """A counter for each value of a label."""
    counter = CounterMetricFamily(name, what, labels=(label,))
    for one, value in values.items():
        counter.add_metric((one,), value)
    return counter


def _histogram(name: str, what: str, seconds: Latencies) -> Metric:
    buckets = [("+Inf" if bound == float("inf") else str(bound), count) for bound, count in seconds.cumulative()]
    return HistogramMetricFamily(name, what, buckets=buckets, sum_value=seconds.total)


def _per_monitor(
    family: type[GaugeMetricFamily] | type[CounterMetricFamily],
    name: str,
    what: str,
    workers: Iterable[WorkerStatus],
    value: Callable[[WorkerStatus], float | None],
) -> Metric:
    """One figure of each monitor; no sample where there is none."""
    metric = family(f"zmnext_monitor_{name}", what, labels=MONITOR)
    for told in workers:
        if (figure := value(told)) is not None:
            metric.add_metric((str(told.monitor_id),), figure)
    return metric
