"""The workloads of one step length: their history, models and state, as arrays that grow and are reused.

Owned by the loop (`engine`) and by `pipe`; both put samples in and take decisions out by the same two calls.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from forecasting import catalog, conformal, ensemble
from forecasting.calendar import Places
from forecasting.errors import NotEnoughHistory
from forecasting.forecast import BoolArray, FloatArray, IntArray, Quantiles
from forecasting.series import DAY_S, History, Rows
from scaler.core import capacity, plausibility, watch
from scaler.core.agenda import LAID_OUT_AHEAD_S, LAID_OUT_BACK_S, Agenda, lay_out
from scaler.core.decision import State, decide, initial_state
from scaler.core.domain import (
    DEFAULT_TOLERANCE,
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
    whole_lead_s,
    window_steps,
)
from scaler.core.gate import Voice
from scaler.core.learning import FIT_BUDGET_S, YOUNG_PERIOD_S, Learnt, due_cutoff_s, stacked
from scaler.core.queueing import arrivals_from_depth
from scaler.core.signals import Samples
from scaler.core.trust import TrustRules, refit_due_s
from scaler.ring import LoadRing
from scaler.sightings import Sightings

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
        self.columns: Workloads = columns_of([self._placeholder] * n_rows)
        self.models = catalog.unfitted(n_rows)
        self._models_before = catalog.unfitted(n_rows)
        self._state: State = initial_state(n_rows, step_s)
        self._record = conformal.empty(n_rows, self.ring.bucket_s)
        self._ensemble = ensemble.initial_state(n_rows)
        self._watch = watch.initial_state(n_rows)
        self._plausible = plausibility.initial_state(n_rows)
        self.capacity = capacity.initial_state(n_rows)
        """What one replica bears, as learnt."""
        self._good_s, self._read_s, self._skipped_s = np.full((3, n_rows), -np.inf)
        self.by_hand_s = np.full((3, n_rows), -np.inf)
        """When a fit was asked for, the cutoff of the champion that was chosen, and when, (3, B); −inf: not."""
        self._depth, self._arrivals, self._work = np.full((3, n_rows), np.nan)
        self._free = list(range(n_rows))[::-1]
        self._agendas: Mapping[str, Agenda] = {}
        self._places: Places | None = None
        self._week = -1

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
            self._week = -1
            self._restate(np.array([row]))

    def remove(self, row: int) -> None:
        """Forget the row's workload and all it has learnt."""
        self.workloads[row] = None
        self._reset(row, self._placeholder)
        self._free.append(row)

    def _reset(self, row: int, workload: Workload) -> None:
        at = slice(row, row + 1)
        self._week = -1
        self.ring.clear(row)
        put(self.columns, at, columns_of([workload]))
        put(self.models, at, catalog.unfitted(1))
        put(self._models_before, at, catalog.unfitted(1))
        put(self._state, at, initial_state(1, self.step_s))
        put(self._record, at, conformal.empty(1, self.ring.bucket_s))
        put(self._ensemble, at, ensemble.initial_state(1))
        put(self._watch, at, watch.initial_state(1))
        put(self._plausible, at, plausibility.initial_state(1))
        put(self.capacity, at, capacity.initial_state(1))
        self._good_s[row] = self._read_s[row] = self._skipped_s[row] = -np.inf
        self.by_hand_s[:, row] = -np.inf
        self._depth[row] = self._arrivals[row] = self._work[row] = np.nan

    def _grow(self) -> None:
        n = len(self.workloads)
        self.ring.grow(2 * n)
        self.columns = stacked([self.columns, columns_of([self._placeholder] * n)])
        self.models = stacked([self.models, catalog.unfitted(n)])
        self._models_before = stacked([self._models_before, catalog.unfitted(n)])
        self._state = stacked([self._state, initial_state(n, self.step_s)])
        self._record = stacked([self._record, conformal.empty(n, self.ring.bucket_s)])
        self._ensemble = stacked([self._ensemble, ensemble.initial_state(n)])
        self._watch = stacked([self._watch, watch.initial_state(n)])
        self._plausible = stacked([self._plausible, plausibility.initial_state(n)])
        self.capacity = stacked([self.capacity, capacity.initial_state(n)])
        never = np.full(n, -np.inf)
        self._good_s, self._read_s = np.append(self._good_s, never), np.append(self._read_s, never)
        self._skipped_s = np.append(self._skipped_s, never)
        self.by_hand_s = np.concatenate([self.by_hand_s, np.full((3, n), -np.inf)], axis=1)
        nothing = np.full(n, np.nan)
        self._depth, self._arrivals = np.append(self._depth, nothing), np.append(self._arrivals, nothing)
        self._work = np.append(self._work, nothing)
        self.workloads += [None] * n
        self._free = list(range(n, 2 * n))[::-1]

    def schedule(self, agendas: Mapping[str, Agenda]) -> None:
        """Take over the settings' calendars; multipliers are what they state until the next fit."""
        self._agendas, self._week = agendas, -1
        self._restate(np.arange(len(self.workloads)))

    def _restate(self, rows: IntArray) -> None:
        """Let events multiply by what their calendars state, and forget what was learnt of others."""
        places = self._places_now()
        self.models.multiplier[rows] = np.nan
        for mine, calendar in () if places is None else places.of(rows):
            self.models.multiplier[rows[mine]] = calendar.stated

    def _places_now(self) -> Places | None:
        """Calendars of all rows, laid out anew each week for the weeks around it."""
        week = int(self.ring.end_s // (7 * DAY_S))
        if week != self._week:
            self._week, self._places = week, self._placed(7 * DAY_S * week)
        return self._places

    def _placed(self, week_s: float) -> Places | None:
        keys = [("UTC", None) if one is None else (one.timezone, one.calendar) for one in self.workloads]
        unlike = sorted({key for key in keys if key != ("UTC", None)}, key=str)
        if not unlike:
            return None
        span = week_s - LAID_OUT_BACK_S, week_s + LAID_OUT_AHEAD_S
        calendars = tuple(lay_out(zone, self._agendas.get(name or "", Agenda()), *span) for zone, name in unlike)
        number = {key: place for place, key in enumerate(unlike)}
        return Places(np.array([number.get(key, -1) for key in keys]), calendars)

    def history(self, rows: slice | IntArray) -> History:
        """What is kept of some rows, and the calendars they live by; views where `rows` is a slice."""
        history, places = self.ring.history(slice(None)), self._places_now()
        return take(replace(history, places=places), rows)

    def follow(self, row: int, running: Running) -> None:
        """Take over what a cluster says of a row; tighter bounds and a lead time that were stated stay in force."""
        workload, columns = self.workloads[row], self.columns
        if workload is None:
            return
        if running.hpa_maximum != UNKNOWN:
            columns.hpa_minimum[row], columns.hpa_maximum[row] = running.hpa_minimum, running.hpa_maximum
            columns.minimum[row] = max(workload.min_replicas or 0, running.hpa_minimum)
            columns.maximum[row] = min(workload.max_replicas or running.hpa_maximum, running.hpa_maximum)
        otherwise = DEFAULT_TOLERANCE if workload.tolerance is None else workload.tolerance
        up = otherwise if math.isnan(running.tolerance) else running.tolerance
        down = running.tolerance if math.isnan(running.tolerance_down) else running.tolerance_down
        columns.tolerance[row], columns.tolerance_down[row] = up, otherwise if math.isnan(down) else down
        columns.shadow[row] = workload.shadow if running.shadow is None else running.shadow
        columns.override[row], columns.pinned[row] = running.override, running.pinned
        columns.paused[row], columns.grows[row], columns.shrinks[row] = running.paused, running.grows, running.shrinks
        if not workload.lead_stated and not math.isnan(running.lead_s):
            columns.lead_s[row] = whole_lead_s(workload, running.lead_s)
            columns.h[row] = window_steps(columns.lead_s[row : row + 1], self.step_s)[0]
        self.by_hand_s[:, row] = running.retrain_s, running.champion_s, running.champion_at_s
        if 0 < self.models.cutoff_s[row] <= running.rollback_s:
            self._roll_back(row, running.rollback_s)

    def _roll_back(self, row: int, until_s: float) -> None:
        """Drop the row's model; none with a cutoff up to `until_s` is fitted again."""
        put(self.models, slice(row, row + 1), catalog.unfitted(1))
        self.speak_naively(row)
        self.refuse(row, until_s)

    def refuse(self, row: int, until_s: float) -> None:
        """Fit nothing with a cutoff up to `until_s` any more."""
        self._skipped_s[row] = max(self._skipped_s[row], until_s)

    def voice(self, row: int) -> Voice:
        """Who speaks for the row and how it is heard, as it is now."""
        index = np.array([row])
        return take(self.models, index), take(self._ensemble, index)

    def reinstate(self, row: int, voice: Voice) -> None:
        """Let somebody speak for the row who was fitted before; its price and the ladder stay where they are."""
        put(self.models, slice(row, row + 1), voice[0])
        put(self._ensemble, slice(row, row + 1), voice[1])

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
        self._good_s[row] = max(self._good_s[row], known.max())
        self._read_s[row] = max(self._read_s[row], known.max())
        if known[-1] - known[0] >= plausibility.YOUNG_S:
            at = slice(row, row + 1)
            was = take(self._plausible, at)
            put(self._plausible, at, plausibility.remembered(self.ring.history(at), was))

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
        wanted_s, asked_s = self._wanted_s(row, now_s), float(self.by_hand_s[0, row])
        due_s = due_cutoff_s(now_s, span_s, workload.fingerprint, self.ring.bucket_s, wanted_s, asked_s)
        return due_s if due_s > max(self.models.cutoff_s[row], self._skipped_s[row]) else -np.inf

    def drifted(self, row: int) -> bool:
        """Whether a newer fit than the row's is wanted because of a drift."""
        wanted_s = refit_due_s(take(self._state.trust, slice(row, row + 1)), self.rules)[0]
        return bool(wanted_s > self.models.cutoff_s[row])

    def _wanted_s(self, row: int, now_s: float) -> float:
        """Since when a fit is wanted out of turn: after a drift, or at the next cutoff for another lead window."""
        drifted_s = float(refit_due_s(take(self._state.trust, slice(row, row + 1)), self.rules)[0])
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

    def skip_fit(self, row: int) -> None:
        """Go without the fit that is due now; the next one is due at the next cutoff."""
        self.refuse(row, self.ring.end_s)

    def lesson(self, rows: list[int], until_s: float = math.inf) -> tuple[History, Workloads]:
        """History up to `until_s` and columns of some rows, copied, for a fit elsewhere."""
        index = np.array(rows)
        history = self.history(index)
        return history if math.isinf(until_s) else history.until(until_s), take(self.columns, index)

    def apart(self, row: int) -> tuple[History, catalog.Models, ensemble.EnsembleState]:
        """All that one row's forecasts are made from, copied, for a forecast beside the loop."""
        index = np.array([row])
        return self.history(index), take(self.models, index), take(self._ensemble, index)

    def adopt(self, row: int, learnt: Learnt, part: int, cutoff_s: float) -> None:
        """Take over row `part` of what was learnt; a workload that could not be fitted is not tried again at once."""
        at = slice(row, row + 1)
        models = take(learnt.models, slice(part, part + 1))
        if models.speaker[0] != catalog.NOBODY:
            put(self._models_before, at, take(self.models, at))
            put(self.models, at, replace(models, cutoff_s=np.array([int(cutoff_s)])))
        else:
            self.models.cutoff_s[row] = int(cutoff_s)
        put(self._state.price, at, take(learnt.price, slice(part, part + 1)))
        put(self._state.trust, at, take(learnt.trust, slice(part, part + 1)))
        put(self._record, at, take(learnt.record, slice(part, part + 1)))
        put(self._ensemble, at, take(learnt.ensemble, slice(part, part + 1)))

    def model_of(self, row: int, version: int) -> catalog.Models | None:
        """The row's model with that cutoff, copied, where it is in force or was before the one that is."""
        for models in (self.models, self._models_before):
            if models.cutoff_s[row] == version and models.speaker[row] != catalog.NOBODY:
                return take(models, np.array([row]))
        return None

    def missed(self, row: int, t_s: float) -> float:
        """Steps from the row's newest sample to `t_s`, at least 1; inf where it never had one."""
        return max((t_s - float(self._read_s[row])) / self.step_s, 1.0)

    def see(self, rows: slice, seen: Sightings) -> Observations:
        """Store this tick's samples of `rows` and say what is now known of them; twice is as once."""
        t_s, columns = self.ring.end_s, self._part(self.columns, rows)
        arrivals = self._arrivals_of(rows, seen, columns)
        accepted = self._accepted(rows, seen, columns)
        self.ring.put(rows, np.where(columns.queue, arrivals, accepted.kept))
        cleared = seen.arrivals - (seen.load - self._depth[rows]) / self.step_s
        self._work[rows] = np.where(columns.queue, cleared, accepted.load)
        self._read_s[rows] = np.where(np.isnan(seen.load), self._read_s[rows], t_s)
        self._good_s[rows] = np.where(np.isnan(accepted.load), self._good_s[rows], t_s)
        return Observations(
            t_s=t_s,
            step_s=self.step_s,
            load=accepted.load,
            arrivals=arrivals,
            stale_s=t_s - self._good_s[rows],
            history_s=self.ring.span_s(rows),
            replicas=seen.replicas,
            ready=np.where(seen.ready >= 0, seen.ready, seen.replicas),
            feedback=seen.feedback,
            doubt=accepted.doubt,
        )

    def _accepted(self, rows: slice, seen: Sightings, columns: Workloads) -> plausibility.Accepted:
        situation = plausibility.Situation(
            replicas=np.where(seen.replicas == UNKNOWN, self._state.decided[rows], seen.replicas),
            history_s=self.ring.span_s(rows),
            corroborated=plausibility.corroborated(seen.feedback, columns),
        )
        was = self._part(self._plausible, rows)
        accepted, now = plausibility.accept(seen.load, situation, columns, was, self.step_s)
        put(self._plausible, rows, now)
        return accepted

    def _arrivals_of(self, rows: slice, seen: Sightings, columns: Workloads) -> FloatArray:
        """Stated arrivals of queues, else those that the change of depth since the last decision tells."""
        if not columns.queue.any():
            return seen.arrivals
        serving = np.where(seen.ready >= 0, seen.ready, seen.replicas)
        clearing = np.where(serving >= 0, serving * columns.capacity, np.nan)
        inferred = arrivals_from_depth(seen.load, self._depth[rows], self._arrivals[rows], clearing, self.step_s)
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
        parts = self._watch.parts[rows]
        return Forecasts(served.peak, served.path, served.ceiling, models.cutoff_s, models.validated, parts)

    def as_served(self, rows: slice | IntArray, said: Quantiles) -> Quantiles:
        """Forecasts of `rows` shifted, or replaced, by what the last look at their forecasters found."""
        return ensemble.applied(take(self._ensemble, rows), said, self.models.epsilon[rows])

    def persistent(self, rows: slice) -> BoolArray:
        """Where persistence is heard instead of the fitted forecaster."""
        return self._ensemble.persistent[rows]

    def _look(self, rows: slice, columns: Workloads, models: catalog.Models, t_s: float) -> None:
        """Compare what was forecast with what came, where an hour has passed since the last look."""
        if t_s % self.ring.coarse_s == 0:
            put(self._watch, rows, watch.levelled(self.ring.history(rows), take(self._watch, rows), columns))
        due_s = ensemble.due_s(t_s, columns.phase_s)
        state = take(self._ensemble, rows)
        for row in np.flatnonzero((due_s > state.looked_s) & (models.speaker != catalog.NOBODY)).tolist():
            at, own = slice(row, row + 1), slice(rows.start + row, rows.start + row + 1)
            history, h = self.history(own), int(columns.h[row])
            bucket_s, epsilon = self.ring.bucket_s, float(models.epsilon[row])
            kept = conformal.kept_in(take(self._record, own), t_s, bucket_s)
            track = conformal.joined(history, kept, h, averaged=bool(columns.queue[row])).until(t_s)
            put(state, at, ensemble.looked(take(state, at), track, epsilon, float(due_s[row]), bucket_s))
            errors = watch.errors_of(track, take(state, at), epsilon, h * self.step_s, bucket_s)
            put(self._watch, own, watch.looked(history, errors, take(columns, at)))

    def _keep(self, rows: slice, said: Quantiles, t_s: float, stale: BoolArray) -> None:
        if t_s % conformal.stride_s(self.ring.bucket_s) == 0:
            conformal.keep(take(self._record, rows), said, stale, t_s, self.ring.bucket_s)

    def _part(self, columns: Columns, rows: slice) -> Columns:
        """Rows of the fleet's columns; all of them as they are, which spares a fleet of one (`pipe`) the work."""
        return columns if rows.stop - rows.start >= len(self.workloads) else take(columns, rows)

    def unheard(self, row: int) -> bool:
        """Whether nothing was ever known of the row, so that its decision must not be served."""
        return bool(self._state.decided[row] == UNKNOWN)

    def decide(self, rows: slice, seen: Observations) -> Decisions:
        """Forecast and decide for `rows`; their state moves on."""
        forecasts = self.forecast(rows, seen)
        decisions, state = decide(
            seen, forecasts, self._part(self.columns, rows), self._part(self._state, rows), self.rules, self.in_force
        )
        put(self._state, rows, state)
        self._depth[rows], self._arrivals[rows] = seen.load, seen.arrivals
        self._learn_capacity(rows, seen)
        return decisions

    def _learn_capacity(self, rows: slice, seen: Observations) -> None:
        """Take a tick's feedback as a lesson in what a replica bears; from the next tick on it may be in force."""
        columns, was = self._part(self.columns, rows), self._part(self.capacity, rows)
        now = capacity.step(self._work[rows], seen, columns, was)
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
