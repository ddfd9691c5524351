"""Foresail's own metrics, read off the board when Prometheus scrapes, and log set-up."""

import logging
from collections import Counter
from collections.abc import Iterator

import numpy as np
import structlog
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from forecasting.forecast import LEVELS
from scaler import __version__
from scaler.chores import Chores
from scaler.core import capacity
from scaler.core.domain import UNBOUNDED, UNKNOWN, Mode
from scaler.engine import Engine
from scaler.live_cluster import LiveCluster
from scaler.prometheus import PrometheusSource
from scaler.push import PushedLoad
from scaler.roster import Key

WORKLOAD = ("namespace", "workload")


class EngineCollector(Collector):
    """Metrics of all tracked workloads and of the loop."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        """All families, with the values of this moment."""
        yield from self._workloads()
        yield from self._loop()

    def _workloads(self) -> Iterator[Metric]:
        gauges = {
            name: GaugeMetricFamily(f"foresail_{name}", text, labels=WORKLOAD)
            for name, text in {
                "load": "Newest accepted load, in the unit of the query.",
                "predicted_replicas": "Replicas decided.",
                "value": "Value sent to the HPA.",
                "active": "1 while the workload should run at all.",
                "confidence_ratio": "Probability that the decided replicas suffice through the lead window.",
                "level_ratio": "Level at which the forecast is read.",
                "earned_ratio": "Share of a scale-down that the forecast has earned.",
                "drift_score": "How far load and errors have drifted, 0 to 1; above 0.3 the forecast is not trusted.",
                "maximum_replicas": "Largest replica count that may be asked for.",
            }.items()
        }
        replicas = GaugeMetricFamily("foresail_replicas", "Replicas by what wants them.", labels=(*WORKLOAD, "kind"))
        peak = GaugeMetricFamily(
            "foresail_forecast_peak_load", "Quantile of the lead window's peak.", labels=(*WORKLOAD, "level")
        )
        bears = GaugeMetricFamily(
            "foresail_capacity_load",
            "Load that can be borne: by the replicas that serve, by one of them, and what was learnt of one.",
            labels=(*WORKLOAD, "kind"),
        )
        mode = GaugeMetricFamily("foresail_mode", "1 for the mode that is served.", labels=(*WORKLOAD, "mode"))
        for key, entry in list(self._engine.roster.entries.items()):
            posted = self._engine.board.get(key)
            if posted is None:
                continue
            labels, made, row = (key.namespace, self._engine.roster.identifier(key)), posted.decisions, posted.row
            del entry
            values = {
                "load": made.load[row],
                "predicted_replicas": made.predicted_replicas[row],
                "value": made.value[row],
                "active": made.active[row],
                "confidence_ratio": made.confidence[row],
                "level_ratio": made.level[row],
                "earned_ratio": made.earned[row],
                "drift_score": made.drift[row],
                "maximum_replicas": self._maximum(key),
            }
            for name, value in values.items():
                gauges[name].add_metric(labels, float(value))
            for kind, column in {
                "observed": made.replicas,
                "ready": made.ready,
                "reactive": made.reactive,
                "reactive_alone": made.reactive_alone,
                "forecast": made.predictive,
                "served": made.predicted_replicas,
            }.items():
                if column[row] != UNKNOWN:
                    replicas.add_metric((*labels, kind), float(column[row]))
            for level, value in zip(LEVELS, made.peak[row], strict=True):
                peak.add_metric((*labels, f"{level:g}"), float(value))
            bears.add_metric((*labels, "replica"), float(made.capacity[row]))
            if made.ready[row] != UNKNOWN:
                bears.add_metric((*labels, "serving"), float(made.ready[row] * made.capacity[row]))
            for kind, load in self._learnt_capacity(key).items():
                bears.add_metric((*labels, kind), load)
            for each in Mode:
                mode.add_metric((*labels, each.label), float(each is posted.mode))
        yield from (*gauges.values(), replicas, peak, bears, mode)

    def _learnt_capacity(self, key: Key) -> dict[str, float]:
        fleet, row = self._engine.row_of(key)
        found = capacity.of_row(fleet.capacity, row)
        return {} if found is None else {"learnt": found.load, "low": found.low, "high": found.high}

    def _maximum(self, key: Key) -> float:
        fleet, row = self._engine.row_of(key)
        maximum = int(fleet.columns.maximum[row])
        return np.inf if maximum >= UNBOUNDED else maximum

    def _calls(self) -> Metric:
        latency = self._engine.latency
        calls = HistogramMetricFamily("foresail_rpc_seconds", "Time that gRPC calls took.", labels=("method",))
        for method in list(latency.counts):
            calls.add_metric((method,), latency.buckets(method), latency.sums_s[method])
        return calls

    def _loop(self) -> Iterator[Metric]:
        yield self._calls()
        counters, roster = self._engine.counters, self._engine.roster
        yield GaugeMetricFamily("foresail_workloads", "Tracked workloads.", value=len(roster.entries))
        yield self._modes()
        yield from self._models()
        yield GaugeMetricFamily("foresail_tick_seconds", "Duration of the newest tick.", value=counters.tick_s)
        yield GaugeMetricFamily("foresail_fit_seconds", "Duration of the newest fits.", value=counters.fit_s)
        for name, text, value in (
            ("ticks", "Ticks decided.", counters.ticks),
            ("read_failures", "Loads that could not be read.", self._engine.lookout.failures),
            ("decide_failures", "Workloads that could not be decided.", counters.decide_failures),
            ("fits", "Workloads fitted.", counters.fits),
            ("fit_failures", "Fits that failed or took too long.", counters.fit_failures),
        ):
            yield CounterMetricFamily(f"foresail_{name}", text, value=value)
        yield from self._journal()
        build = GaugeMetricFamily("foresail_build_info", "Version of Foresail.", labels=("version",))
        build.add_metric((__version__,), 1.0)
        yield build

    def _models(self) -> Iterator[Metric]:
        lessons, became = self._engine.lessons, self._engine.succession.counters
        waiting = GaugeMetricFamily(
            "foresail_fit_queue_workloads", "Workloads that wait for a fit.", labels=("trigger",)
        )
        for trigger, n in lessons.queue().items():
            waiting.add_metric((trigger.label,), n)
        yield waiting
        text = "Workloads whose fit is under way."
        yield GaugeMetricFamily("foresail_fitting_workloads", text, value=len(lessons.fitting))
        for name, text, value in (
            ("promotions", "Models that began to serve.", became.promotions),
            ("refusals", "Models that the gate refused, or that were chosen and could not be read.", became.refusals),
            ("rollbacks", "Models taken back because their predecessor did better.", became.rollbacks),
        ):
            yield CounterMetricFamily(f"foresail_model_{name}", text, value=value)
        text = "Readings and writings of the model registry that failed."
        yield CounterMetricFamily("foresail_registry_failures", text, value=self._engine.archive.failures)
        age = GaugeMetricFamily(
            "foresail_model_age_seconds", "Since the cutoff of the model that serves.", labels=WORKLOAD
        )
        for key in list(self._engine.roster.entries):
            fleet, row = self._engine.row_of(key)
            if fleet.models.cutoff_s[row]:
                labels = key.namespace, self._engine.roster.identifier(key)
                age.add_metric(labels, self._engine.clock() - float(fleet.models.cutoff_s[row]))
        yield age

    def _journal(self) -> Iterator[Metric]:
        journal = self._engine.journal
        yield CounterMetricFamily("foresail_journal_records", "Decisions written to the journal.", journal.written)
        yield CounterMetricFamily("foresail_journal_lost", "Decisions that the disk took too late.", journal.lost)
        text = "1 while decisions are kept in memory only, and lost at a restart."
        yield GaugeMetricFamily("foresail_journal_memory_only", text, value=float(journal.trouble is not None))

    def _modes(self) -> Metric:
        board = self._engine.board
        found = Counter(posted.mode for key in self._engine.roster.entries if (posted := board.get(key)) is not None)
        modes = GaugeMetricFamily("foresail_mode_workloads", "Workloads by the mode that is served.", labels=("mode",))
        for mode in Mode:
            modes.add_metric((mode.label,), found[mode])
        return modes


class SourceCollector(Collector):
    """Metrics of where load comes from: one label value per server of the settings."""

    def __init__(self, queried: PrometheusSource, pushed: PushedLoad) -> None:
        self._queried, self._pushed = queried, pushed

    def collect(self) -> Iterator[Metric]:
        """All families, with the values of this moment."""
        families = [
            CounterMetricFamily(f"foresail_source_{name}", text, labels=("server",))
            for name, text in (
                ("queries", "Queries sent to a server."),
                ("query_failures", "Queries without a usable answer."),
                ("query_seconds", "Time that a server's answers took, failures included."),
                ("query_bytes", "Size of a server's good answers."),
            )
        ]
        for url, exchange in list(self._queried.exchanges.items()):
            counts = (exchange.queries, exchange.failures, exchange.seconds, exchange.read_bytes)
            for family, value in zip(families, counts, strict=True):
                family.add_metric((url,), value)
        yield from families
        text = "1 while pushed load is kept in memory only, and lost at a restart."
        yield GaugeMetricFamily("foresail_pushed_memory_only", text, value=float(self._pushed.trouble is not None))


class ClusterCollector(Collector):
    """Metrics of what the Kubernetes API gives, and of what was asked of it."""

    def __init__(self, engine: Engine, live: LiveCluster | None, chores: Chores) -> None:
        self._engine, self._live, self._chores = engine, live, chores

    def collect(self) -> Iterator[Metric]:
        """All families, with the values of this moment; without a cluster nothing is on."""
        on = GaugeMetricFamily(
            "foresail_cluster_feature", "1 while the cluster makes a feature possible.", labels=("feature",)
        )
        requests = CounterMetricFamily(
            "foresail_cluster_requests", "Requests to the Kubernetes API.", labels=("resource", "verb")
        )
        if self._live is not None:
            for feature in (*self._live.features(), *self._chores.features()):
                on.add_metric((feature.name,), float(feature.trouble is None))
            for (resource, verb), count in self._live.api.requests.items():
                requests.add_metric((resource, verb), count)
        yield from (on, requests)
        elected, told, held_back = self._chores.counts()
        yield GaugeMetricFamily("foresail_elected", "1 while the chores are this replica's.", value=float(elected))
        yield CounterMetricFamily("foresail_events", "Kubernetes Events written.", value=told)
        yield CounterMetricFamily("foresail_events_held_back", "Events beyond the rate.", value=held_back)
        yield from self._to_come()

    def _to_come(self) -> Iterator[Metric]:
        seconds = GaugeMetricFamily(
            "foresail_start_up_seconds", "Scheduled to Ready of a workload's pods.", labels=(*WORKLOAD, "quantile")
        )
        pods = GaugeMetricFamily("foresail_start_up_pods", "Pods that this was learnt from.", labels=WORKLOAD)
        never = GaugeMetricFamily(
            "foresail_never_ready_pods", "Pods of the newest image that never became Ready.", labels=WORKLOAD
        )
        node = GaugeMetricFamily(
            "foresail_node_wait_seconds", "Median wait of the pods that waited for a node.", labels=WORKLOAD
        )
        lead = GaugeMetricFamily("foresail_lead_seconds", "Lead time that is forecast with.", labels=WORKLOAD)
        need = GaugeMetricFamily(
            "foresail_day_peak_replicas", "Replicas that the busiest hour of the coming day needs.", labels=WORKLOAD
        )
        hour = GaugeMetricFamily(
            "foresail_day_peak_timestamp_seconds", "Beginning of the busiest hour of the coming day.", labels=WORKLOAD
        )
        for key in list(self._engine.roster.entries):
            labels = key.namespace, self._engine.roster.identifier(key)
            fleet, row = self._engine.row_of(key)
            lead.add_metric(labels, float(fleet.columns.lead_s[row]))
            peak = self._chores.day_peak(key)
            if peak is not None:
                need.add_metric(labels, peak.replicas)
                hour.add_metric(labels, peak.at_s)
            said = None if self._live is None else self._live.lead_time(key)
            if said is not None:
                seconds.add_metric((*labels, "0.5"), said.p50_s)
                seconds.add_metric((*labels, "0.95"), said.p95_s)
                pods.add_metric(labels, said.pods)
                never.add_metric(labels, said.never)
                node.add_metric(labels, said.node_p50_s)
        yield from (seconds, pods, never, node, lead, need, hour)


def registry_of(*ours: Collector) -> CollectorRegistry:
    """Registry with the process's own metrics and ours."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    for collector in ours:
        registry.register(collector)
    return registry


def set_up_logging(level: str, style: str) -> None:
    """Log lines to standard error: for people or as JSON."""
    renderer = structlog.processors.JSONRenderer() if style == "json" else structlog.dev.ConsoleRenderer(colors=False)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(),
    )
