"""The workloads of one step length: their history, models and state, as arrays that grow and are reused.

Owned by the loop (`engine`) and by `pipe`; both put samples in and take decisions out by the same two calls.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from forecasting import catalog, conformal, ensemble
from forecasting.errors import NotEnoughHistory
from forecasting.forecast import BoolArray, FloatArray, IntArray, Quantiles
from forecasting.series import History, Rows
from scaler.core import capacity, plausibility, watch
from scaler.core.agenda import Agenda
from scaler.core.capacity import CapacityState
from scaler.core.decision import decide
from scaler.core.domain import (
    UNKNOWN,
    Columns,
    Decisions,
    Forecasts,
    Observations,
    Running,
    Workload,
    Workloads,
    columns_of,
    put,
    take,
)
from scaler.core.gate import Voice
from scaler.core.learning import FIT_BUDGET_S, YOUNG_PERIOD_S, Learnt, due_cutoff_s, stacked
from scaler.core.queueing import arrivals_from_depth
from scaler.core.signals import Samples
from scaler.core.trust import TrustRules, refit_due_s
from scaler.fleet_rows import FleetRows, follow, unknown
from scaler.ring import LoadRing
from scaler.sightings import Sightings
from scaler.timetable import Timetable

if TYPE_CHECKING:
    from scaler.core.audition import InForce

OTHER_LEAD = 1.25
"""Ratio of today's lead window to the fitted one from which it is fitted anew at the next hour."""

LONGEST_STALE_S = 6 * 3600.0
"""Longest that a lead window is drawn out for a stale row: its width is paid for by every row of the batch."""


class Fleet:
    """Rows of workloads that share a step; a removed workload's row is reused."""

    def __init__(self, step_s: float, now_s: float, rules: TrustRules, n_rows: int = 64) -> None:
        self.step_s = step_s
        self.rules = rules
        self.in_force: InForce | None = None
        """The agent that is asked, None without one."""
        self.ring = LoadRing(n_rows, step_s, now_s // step_s * step_s)
        self.complete_s = self.ring.end_s
        """Newest tick whose samples are all in."""
        self.workloads: list[Workload | None] = [None] * n_rows
        self._placeholder = Workload("", "", "0", threshold=1.0, step_s=step_s)
        self._rows: FleetRows = unknown(self._placeholder, n_rows, step_s)
        self._free = list(range(n_rows))[::-1]
        self._timetable = Timetable()

    @property
    def columns(self) -> Workloads:
        """What is configured or read of all rows."""
        return self._rows.columns

    @property
    def models(self) -> catalog.Models:
        """The forecasters in force."""
        return self._rows.models

    @property
    def capacity(self) -> CapacityState:
        """What one replica bears, as learnt."""
        return self._rows.capacity

    @property
    def by_hand_s(self) -> FloatArray:
        """When a fit was asked for, the cutoff of the champion that was chosen, and when, (B, 3); −inf: not."""
        return self._rows.by_hand_s

    def add(self, workload: Workload) -> int:
        """Give `workload` a row with nothing known about it."""
        if not self._free:
            self._grow()
        row = self._free.pop()
        self.workloads[row] = workload
        self._reset(row, workload)
        return row

    def configure(self, row: int, workload: Workload) -> None:
        """Take over what has changed about the row's workload; its history and all it has learnt stay."""
        before, self.workloads[row] = self.workloads[row], workload
        put(self.columns, slice(row, row + 1), columns_of([workload]))
        self.use_capacity(slice(row, row + 1))
        if before is None or (before.timezone, before.calendar) != (workload.timezone, workload.calendar):
            self._timetable.changed()
            self._restate(np.array([row]))

    def remove(self, row: int) -> None:
        """Forget the row's workload and all it has learnt."""
        self.workloads[row] = None
        self._reset(row, self._placeholder)
        self._free.append(row)

    def _reset(self, row: int, workload: Workload) -> None:
        self._timetable.changed()
        self.ring.clear(row)
        put(self._rows, slice(row, row + 1), unknown(workload, 1, self.step_s))

    def _grow(self) -> None:
        n = len(self.workloads)
        self.ring.grow(2 * n)
        self._rows = stacked([self._rows, unknown(self._placeholder, n, self.step_s)])
        self.workloads += [None] * n
        self._free = list(range(n, 2 * n))[::-1]

    def schedule(self, agendas: Mapping[str, Agenda]) -> None:
        """Take over the settings' calendars; multipliers are what they state until the next fit."""
        self._timetable.schedule(agendas)
        self._restate(np.arange(len(self.workloads)))

    def _restate(self, rows: IntArray) -> None:
        """Let events multiply by what their calendars state, and forget what was learnt of others."""
        places = self._timetable.places(self.workloads, self.ring.end_s)
        self.models.multiplier[rows] = np.nan
        for mine, calendar in () if places is None else places.of(rows):
            self.models.multiplier[rows[mine]] = calendar.stated

    def history(self, rows: slice | IntArray) -> History:
        """What is kept of some rows, and the calendars they live by; views where `rows` is a slice."""
        places = self._timetable.places(self.workloads, self.ring.end_s)
        return take(replace(self.ring.history(slice(None)), places=places), rows)

    def follow(self, row: int, running: Running) -> None:
        """Take over what a cluster says of a row; tighter bounds and a lead time that were stated stay in force."""
        workload = self.workloads[row]
        if workload is None:
            return
        follow(self.columns, row, workload, running)
        self.by_hand_s[row] = running.retrain_s, running.champion_s, running.champion_at_s
        if 0 < self.models.cutoff_s[row] <= running.rollback_s:
            self._roll_back(row, running.rollback_s)

    def _roll_back(self, row: int, until_s: float) -> None:
        """Drop the row's model; none with a cutoff up to `until_s` is fitted again."""
        put(self.models, slice(row, row + 1), catalog.unfitted(1))
        self.speak_naively(row)
        self.refuse(row, until_s)

    def refuse(self, row: int, until_s: float) -> None:
        """Fit nothing with a cutoff up to `until_s` any more."""
        self._rows.skipped_s[row] = max(self._rows.skipped_s[row], until_s)

    def voice(self, row: int) -> Voice:
        """Who speaks for the row and how it is heard, as it is now."""
        index = np.array([row])
        return take(self.models, index), take(self._rows.ensemble, index)

    def reinstate(self, row: int, voice: Voice) -> None:
        """Let somebody speak for the row who was fitted before; its price and the ladder stay where they are."""
        put(self.models, slice(row, row + 1), voice[0])
        put(self._rows.ensemble, slice(row, row + 1), voice[1])

    def backfill(self, row: int, end_s: float, samples: Samples, spacing_s: float) -> None:
        """Put older samples of one row, the last of them stamped `end_s`, into its history; arrivals for a queue."""
        stamps_s = np.asarray(end_s - spacing_s * np.arange(len(samples.mean) - 1, -1, -1), dtype=np.float64)
        self.ring.backfill(row, stamps_s, samples.mean, spacing_s, samples.maximum)
        self._note(row, stamps_s, samples.mean)

    def backfill_blocks(self, row: int, end_s: float, blocks: Samples) -> None:
        """Put coarse blocks of one row, the last of them stamped `end_s`, into what is older than its buckets."""
        spacing_s = self.ring.coarse_s
        stamps_s = np.asarray(end_s - spacing_s * np.arange(len(blocks.mean) - 1, -1, -1), dtype=np.float64)
        self.ring.backfill_blocks(row, stamps_s, blocks)

    def backfill_at(self, row: int, stamps_s: FloatArray, values: FloatArray, spacing_s: float) -> None:
        """The same for samples at any stamps, oldest first, each holding for `spacing_s` before it."""
        self.ring.backfill(row, stamps_s, values, spacing_s)
        self._note(row, stamps_s, values)

    def _note(self, row: int, stamps_s: FloatArray, values: FloatArray) -> None:
        known = stamps_s[~np.isnan(values) & (stamps_s <= self.ring.end_s)]
        if not len(known):
            return
        self._rows.good_s[row] = max(self._rows.good_s[row], known.max())
        self._rows.read_s[row] = max(self._rows.read_s[row], known.max())
        if known[-1] - known[0] >= plausibility.YOUNG_S:
            at = slice(row, row + 1)
            was = take(self._rows.plausible, at)
            put(self._rows.plausible, at, plausibility.remembered(self.ring.history(at), was))

    def speak_naively(self, row: int) -> None:
        """Let the naive forecaster speak until a fit has been adopted; silent where the history is too short."""
        at = slice(row, row + 1)
        try:
            fitted = catalog.fit_naive(
                self.history(at), int(self.columns.h[row]), averaged=bool(self.columns.queue[row])
            )
        except NotEnoughHistory:
            return
        put(self.models, at, fitted)

    def due_cutoff_s(self, row: int, now_s: float) -> float:
        """Cutoff of the fit that should be serving this row now, −inf where it is or where there is none."""
        workload = self.workloads[row]
        if workload is None:
            return -np.inf
        span_s = float(self.ring.span_s(slice(row, row + 1))[0])
        wanted_s, asked_s = self._wanted_s(row, now_s), float(self.by_hand_s[row, 0])
        due_s = due_cutoff_s(now_s, span_s, workload.fingerprint, self.ring.bucket_s, wanted_s, asked_s)
        return due_s if due_s > max(self.models.cutoff_s[row], self._rows.skipped_s[row]) else -np.inf

    def drifted(self, row: int) -> bool:
        """Whether a newer fit than the row's is wanted because of a drift."""
        return bool(self._drifted_s(row) > self.models.cutoff_s[row])

    def _drifted_s(self, row: int) -> float:
        return float(refit_due_s(take(self._rows.state.trust, slice(row, row + 1)), self.rules)[0])

    def _wanted_s(self, row: int, now_s: float) -> float:
        """Since when a fit is wanted out of turn: after a drift, or at the next cutoff for another lead window."""
        drifted_s = self._drifted_s(row)
        fitted, h = int(self.models.h[row]), int(self.columns.h[row])
        if not fitted or max(fitted, h) <= OTHER_LEAD * min(fitted, h):
            return drifted_s
        return max(drifted_s, now_s - FIT_BUDGET_S - YOUNG_PERIOD_S)

    def wanted_cutoff_s(self, row: int) -> float:
        """Cutoff of the fit that should be serving this row by now, else of the one that soon will; −inf: none."""
        soon_s = self.due_cutoff_s(row, self.complete_s + FIT_BUDGET_S)
        if not math.isfinite(soon_s):
            return -math.inf
        serving_s = self.due_cutoff_s(row, self.complete_s)
        return serving_s if math.isfinite(serving_s) else soon_s

    def learns_until_s(self, cutoff_s: float) -> float:
        """Up to when a fit with this cutoff is taught: the cutoff itself; inf, all that is known, where it is late."""
        return cutoff_s if cutoff_s + FIT_BUDGET_S > self.complete_s else math.inf

    def lesson(self, rows: list[int], until_s: float = math.inf) -> tuple[History, Workloads]:
        """History up to `until_s` and columns of some rows, copied, for a fit elsewhere."""
        index = np.array(rows)
        history = self.history(index)
        return history if math.isinf(until_s) else history.until(until_s), take(self.columns, index)

    def apart(self, row: int) -> tuple[History, catalog.Models, ensemble.EnsembleState]:
        """All that one row's forecasts are made from, copied, for a forecast beside the loop."""
        index = np.array([row])
        return self.history(index), take(self.models, index), take(self._rows.ensemble, index)

    def adopt(self, row: int, learnt: Learnt, part: int, cutoff_s: float) -> None:
        """Take over row `part` of what was learnt; a workload that could not be fitted is not tried again at once."""
        at = slice(row, row + 1)
        models = take(learnt.models, slice(part, part + 1))
        if models.speaker[0] != catalog.NOBODY:
            put(self._rows.models_before, at, take(self.models, at))
            put(self.models, at, replace(models, cutoff_s=np.array([int(cutoff_s)])))
        else:
            self.models.cutoff_s[row] = int(cutoff_s)
        put(self._rows.state.price, at, take(learnt.price, slice(part, part + 1)))
        put(self._rows.state.trust, at, take(learnt.trust, slice(part, part + 1)))
        put(self._rows.record, at, take(learnt.record, slice(part, part + 1)))
        put(self._rows.ensemble, at, take(learnt.ensemble, slice(part, part + 1)))

    def model_of(self, row: int, version: int) -> catalog.Models | None:
        """The row's model with that cutoff, copied, where it is in force or was before the one that is."""
        for models in (self.models, self._rows.models_before):
            if models.cutoff_s[row] == version and models.speaker[row] != catalog.NOBODY:
                return take(models, np.array([row]))
        return None

    def missed(self, row: int, t_s: float) -> float:
        """Steps from the row's newest sample to `t_s`, at least 1; inf where it never had one."""
        return max((t_s - float(self._rows.read_s[row])) / self.step_s, 1.0)

    def see(self, rows: slice, seen: Sightings) -> Observations:
        """Store this tick's samples of `rows` and say what is now known of them; twice is as once."""
        t_s, columns = self.ring.end_s, self._part(self.columns, rows)
        arrivals = self._arrivals_of(rows, seen, columns)
        accepted = self._accepted(rows, seen, columns)
        self.ring.put(rows, np.where(columns.queue, arrivals, accepted.kept))
        cleared = seen.arrivals - (seen.load - self._rows.depth[rows]) / self.step_s
        self._rows.work[rows] = np.where(columns.queue, cleared, accepted.load)
        self._rows.read_s[rows] = np.where(np.isnan(seen.load), self._rows.read_s[rows], t_s)
        self._rows.good_s[rows] = np.where(np.isnan(accepted.load), self._rows.good_s[rows], t_s)
        return Observations(
            t_s=t_s,
            step_s=self.step_s,
            load=accepted.load,
            arrivals=arrivals,
            stale_s=t_s - self._rows.good_s[rows],
            history_s=self.ring.span_s(rows),
            replicas=seen.replicas,
            ready=np.where(seen.ready >= 0, seen.ready, seen.replicas),
            feedback=seen.feedback,
            doubt=accepted.doubt,
        )

    def _accepted(self, rows: slice, seen: Sightings, columns: Workloads) -> plausibility.Accepted:
        situation = plausibility.Situation(
            replicas=np.where(seen.replicas == UNKNOWN, self._rows.state.decided[rows], seen.replicas),
            history_s=self.ring.span_s(rows),
            corroborated=plausibility.corroborated(seen.feedback, columns),
        )
        was = self._part(self._rows.plausible, rows)
        accepted, now = plausibility.accept(seen.load, situation, columns, was, self.step_s)
        put(self._rows.plausible, rows, now)
        return accepted

    def _arrivals_of(self, rows: slice, seen: Sightings, columns: Workloads) -> FloatArray:
        """Stated arrivals of queues, else those that the change of depth since the last decision tells."""
        if not columns.queue.any():
            return seen.arrivals
        serving = np.where(seen.ready >= 0, seen.ready, seen.replicas)
        clearing = np.where(serving >= 0, serving * columns.capacity, np.nan)
        before = self._rows.depth[rows], self._rows.arrivals[rows]
        inferred = arrivals_from_depth(seen.load, *before, clearing, self.step_s)
        return np.where(columns.queue, np.where(np.isnan(seen.arrivals), inferred, seen.arrivals), np.nan)

    def forecast(self, rows: slice, seen: Observations) -> Forecasts:
        """Forecast `rows` from their newest good sample; a stale row's lead window is as much longer."""
        columns, models = self._part(self.columns, rows), self._part(self.models, rows)
        known = np.where(np.isfinite(seen.stale_s), np.minimum(seen.stale_s, LONGEST_STALE_S), 0.0)
        stale_steps = np.rint(known / self.step_s).astype(np.int64)
        origin_s = np.asarray(seen.t_s - stale_steps * self.step_s, dtype=np.float64)
        questions = Rows(np.arange(len(columns.h)), origin_s, columns.h + stale_steps, origin_s)
        said = catalog.predict(models, self.history(rows), questions)
        self._look(rows, columns, models, seen.t_s)
        served = self.as_served(rows, said)
        self._keep(rows, said, seen.t_s, stale_steps > 0)
        parts = self._rows.watch.parts[rows]
        return Forecasts(served.peak, served.path, served.ceiling, models.cutoff_s, models.validated, parts)

    def as_served(self, rows: slice | IntArray, said: Quantiles) -> Quantiles:
        """Forecasts of `rows` shifted, or replaced, by what the last look at their forecasters found."""
        return ensemble.applied(take(self._rows.ensemble, rows), said, self.models.epsilon[rows])

    def persistent(self, rows: slice) -> BoolArray:
        """Where persistence is heard instead of the fitted forecaster."""
        return self._rows.ensemble.persistent[rows]

    def _look(self, rows: slice, columns: Workloads, models: catalog.Models, t_s: float) -> None:
        """Compare what was forecast with what came, where an hour has passed since the last look."""
        if t_s % self.ring.coarse_s == 0:
            put(self._rows.watch, rows, watch.levelled(self.ring.history(rows), take(self._rows.watch, rows), columns))
        due_s = ensemble.due_s(t_s, columns.phase_s)
        state = take(self._rows.ensemble, rows)
        for row in np.flatnonzero((due_s > state.looked_s) & (models.speaker != catalog.NOBODY)).tolist():
            at, own = slice(row, row + 1), slice(rows.start + row, rows.start + row + 1)
            history, h = self.history(own), int(columns.h[row])
            bucket_s, epsilon = self.ring.bucket_s, float(models.epsilon[row])
            kept = conformal.kept_in(take(self._rows.record, own), t_s, bucket_s)
            track = conformal.joined(history, kept, h, averaged=bool(columns.queue[row])).until(t_s)
            put(state, at, ensemble.looked(take(state, at), track, epsilon, float(due_s[row]), bucket_s))
            errors = watch.errors_of(track, take(state, at), epsilon, h * self.step_s, bucket_s)
            put(self._rows.watch, own, watch.looked(history, errors, take(columns, at)))

    def _keep(self, rows: slice, said: Quantiles, t_s: float, stale: BoolArray) -> None:
        if t_s % conformal.stride_s(self.ring.bucket_s) == 0:
            conformal.keep(take(self._rows.record, rows), said, stale, t_s, self.ring.bucket_s)

    def _part(self, columns: Columns, rows: slice) -> Columns:
        """Rows of the fleet's columns; all of them as they are, which spares a fleet of one (`pipe`) the work."""
        return columns if rows.stop - rows.start >= len(self.workloads) else take(columns, rows)

    def unheard(self, row: int) -> bool:
        """Whether nothing was ever known of the row, so that its decision must not be served."""
        return bool(self._rows.state.decided[row] == UNKNOWN)

    def decide(self, rows: slice, seen: Observations) -> Decisions:
        """Forecast and decide for `rows`; their state moves on."""
        forecasts = self.forecast(rows, seen)
        columns, was = self._part(self.columns, rows), self._part(self._rows.state, rows)
        decisions, state = decide(seen, forecasts, columns, was, self.rules, self.in_force)
        put(self._rows.state, rows, state)
        self._rows.depth[rows], self._rows.arrivals[rows] = seen.load, seen.arrivals
        self._learn_capacity(rows, seen)
        return decisions

    def _learn_capacity(self, rows: slice, seen: Observations) -> None:
        """Take a tick's feedback as a lesson in what a replica bears; from the next tick on it may be in force."""
        columns, was = self._part(self.columns, rows), self._part(self.capacity, rows)
        now = capacity.step(self._rows.work[rows], seen, columns, was)
        put(self.capacity, rows, now)
        if now.load is not was.load:
            self.use_capacity(rows)

    def use_capacity(self, rows: slice) -> None:
        """Put what was learnt in force where it is wanted and known; elsewhere what is stated stays."""
        columns, auto, learnt = self.columns, self.columns.capacity_auto[rows], self.capacity.load[rows]
        used = capacity.in_force(columns.capacity[rows], learnt, columns.threshold[rows])
        columns.capacity[rows] = np.where(auto, used, columns.capacity[rows])
        known = np.where(auto & columns.queue[rows], ~np.isnan(learnt), columns.capacity_known[rows])
        columns.capacity_known[rows] = known
