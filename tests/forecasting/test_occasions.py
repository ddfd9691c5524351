"""Known and repeated events are met before they begin, and nothing else is."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from forecasting import catalog, ensemble, occasions
from forecasting.calendar import EVENTS, Calendar, Places
from forecasting.catalog import Models
from forecasting.forecast import FloatArray, Quantiles
from forecasting.series import History, Rows
from forecasting.training import dithered_targets
from scaler.core.agenda import Agenda, Event, moment_of
from scaler.core.domain import Workload
from scaler.core.learning import learn
from scaler.core.trust import TrustRules
from scaler.fleet import Fleet
from scaler.sightings import Sightings
from tests.fakes import DAY_S, WEDNESDAY_S, history_of, seasonal_load

SALE_S, LASTS_S, FACTOR = 9.5 * 3600.0, 1200.0, 5.0
H = 21
"""A lead time of 300 s and the HPA's sync, in steps of 15 s."""
THIRD_S = WEDNESDAY_S + SALE_S
"""The third occurrence: the first came two weeks before."""


def with_sale(t_s: FloatArray, begins: tuple[float, ...]) -> FloatArray:
    on = np.zeros(len(t_s), np.bool_)
    for begin_s in begins:
        on |= (t_s > begin_s) & (t_s <= begin_s + LASTS_S)
    return np.asarray(np.where(on, FACTOR, 1.0) * seasonal_load()(t_s))


def weekly(t_s: FloatArray) -> FloatArray:
    return with_sale(t_s, (THIRD_S - 14 * DAY_S, THIRD_S - 7 * DAY_S, THIRD_S))


def calendar_of(*begins: float, stated: float = np.nan) -> Calendar:
    begin_s = np.array(begins)
    return Calendar(
        change_s=np.zeros(0),
        offset_s=np.zeros(1),
        holiday=np.zeros(0, np.int64),
        begin_s=begin_s,
        end_s=begin_s + LASTS_S,
        event=np.zeros(len(begin_s), np.int64),
        stated=np.array([stated] + [np.nan] * (EVENTS - 1)),
    )


def declared(history: History, calendar: Calendar) -> History:
    return replace(history, places=Places(np.zeros(len(history.mean), np.int64), (calendar,)))


def until(load: Callable[[FloatArray], FloatArray], end_s: float, span_s: float = 15 * DAY_S) -> History:
    """The history of `load` up to `end_s`."""
    return replace_end(history_of(lambda t_s: load(t_s + end_s - WEDNESDAY_S), span_s), end_s - WEDNESDAY_S)


def replace_end(history: History, by_s: float) -> History:
    return replace(
        history,
        end_s=history.end_s + by_s,
        bucket_end_s=history.bucket_end_s + by_s,
        coarse_end_s=history.coarse_end_s + by_s,
    )


def said_at(models: Models, history: History) -> Quantiles:
    return catalog.predict(models, history, Rows.live(history, np.array([H])))


@pytest.fixture(scope="module")
def undeclared() -> Models:
    """Fitted at the midnight before the third sale."""
    return catalog.fit(until(weekly, WEDNESDAY_S), H, averaged=False)


@pytest.fixture(scope="module")
def learnt() -> Models:
    return catalog.fit(declared(until(weekly, WEDNESDAY_S), weekly_calendar()), H, averaged=False)


def weekly_calendar() -> Calendar:
    return calendar_of(THIRD_S - 14 * DAY_S, THIRD_S - 7 * DAY_S, THIRD_S)


@pytest.mark.parametrize("persistent", [False, True])
def test_an_undeclared_weekly_sale_is_met_before_its_third_time(undeclared, persistent):
    history = until(weekly, THIRD_S - 300.0)
    state = replace(ensemble.initial_state(1), persistent=np.array([persistent]))
    said = ensemble.applied(state, said_at(undeclared, history), undeclared.epsilon)
    peak = weekly(THIRD_S + 15.0 * np.arange(1, H + 1)).max()
    assert said.peak[0, 2] > 0.8 * peak
    assert said.peak[0, 4] < 1.6 * peak


def test_an_undeclared_sale_is_not_seen_earlier_or_afterwards(undeclared):
    plain = catalog.fit(until(seasonal_load(), WEDNESDAY_S), H, averaged=False)
    for offset_s in (-1800.0, 1800.0 + LASTS_S, DAY_S):
        with_it, without = (
            said_at(models, until(load, THIRD_S + offset_s))
            for models, load in ((undeclared, weekly), (plain, seasonal_load()))
        )
        assert with_it.peak[0, 2] < 1.5 * without.peak[0, 2], offset_s


def test_a_repeated_rise_is_not_expected_on_top_of_itself(undeclared):
    for into_s in (60.0, 180.0, 300.0, 600.0):
        said = said_at(undeclared, until(weekly, THIRD_S + into_s))
        assert said.peak[0, 2] < 1.8 * weekly(np.array([THIRD_S + into_s]))[0], into_s


def test_a_rise_of_one_week_alone_is_not_expected_again():
    def once(t_s):
        return with_sale(t_s, (THIRD_S - 7 * DAY_S,))

    models = catalog.fit(until(once, WEDNESDAY_S), H, averaged=False)
    history = until(once, THIRD_S - 300.0)
    assert said_at(models, history).peak[0, 2] < 2 * history.mean[0, -5:].mean()


def test_what_a_declared_event_multiplies_by_is_learnt(learnt):
    assert learnt.multiplier[0, 0] == pytest.approx(FACTOR, rel=0.15)
    assert np.isnan(learnt.multiplier[0, 1:]).all()


@pytest.mark.parametrize("persistent", [False, True])
def test_a_declared_event_is_met_before_it_begins(learnt, persistent):
    history = declared(until(weekly, THIRD_S - 300.0), weekly_calendar())
    state = replace(ensemble.initial_state(1), persistent=np.array([persistent]))
    said = ensemble.applied(state, said_at(learnt, history), learnt.epsilon)
    peak = weekly(THIRD_S + 15.0 * np.arange(1, H + 1)).max()
    assert said.peak[0, 2] > 0.8 * peak
    assert said.peak[0, 4] < 1.6 * peak
    quiet = said_at(learnt, declared(until(weekly, THIRD_S - 1200.0), weekly_calendar()))
    assert quiet.peak[0, 4] < 0.5 * peak


def test_people_who_come_late_to_an_event_are_waited_for(learnt):
    def late(t_s):
        return np.where(t_s > THIRD_S, seasonal_load()(t_s), weekly(t_s))

    calendar, usual = weekly_calendar(), seasonal_load()(np.array([THIRD_S]))[0]
    waiting, over = (
        said_at(learnt, declared(until(late, THIRD_S + s), calendar)).peak[0, 2] for s in (600.0, LASTS_S + 60.0)
    )
    assert waiting > 0.8 * FACTOR * usual
    assert over < 0.5 * FACTOR * usual


def test_a_stated_multiplier_needs_no_history():
    history = until(seasonal_load(), WEDNESDAY_S, 2 * DAY_S)
    calendar = calendar_of(WEDNESDAY_S + 200.0, stated=3.0)
    models = catalog.fit(declared(history, calendar), H, averaged=False)
    assert models.multiplier[0, 0] == 3.0
    plain, raised = said_at(models, history), said_at(models, declared(history, calendar))
    assert raised.peak == pytest.approx(3.0 * plain.peak)
    assert raised.ceiling == pytest.approx(3.0 * plain.ceiling)


def test_one_odd_occurrence_does_not_move_a_learnt_multiplier():
    begins = tuple(WEDNESDAY_S - day * DAY_S + SALE_S for day in range(1, 8))

    def load(t_s):
        odd = (t_s > begins[0]) & (t_s <= begins[0] + LASTS_S)
        return with_sale(t_s, begins) * np.where(odd, 100.0, 1.0)

    models = catalog.fit(declared(until(load, WEDNESDAY_S), calendar_of(*sorted(begins))), H, averaged=False)
    assert models.multiplier[0, 0] == pytest.approx(FACTOR, rel=0.15)


def test_windows_in_which_an_event_begins_teach_nothing(learnt, undeclared):
    before_s = THIRD_S - 7 * DAY_S - 300.0
    rows = Rows(np.zeros(1, np.int64), np.array([before_s]), np.array([H]), np.array([before_s]))

    history = until(weekly, WEDNESDAY_S)
    assert np.isfinite(dithered_targets(history, rows, averaged=False)[0]).all()
    assert np.isnan(dithered_targets(declared(history, weekly_calendar()), rows, averaged=False)[0]).all()
    assert learnt.cutoff_s == undeclared.cutoff_s


@pytest.mark.parametrize("known", [False, True])
def test_the_service_asks_for_a_weekly_sale_s_replicas_a_lead_time_before_its_third_time(known):
    fleet = Fleet(15.0, THIRD_S - 600.0, TrustRules(), n_rows=1)
    row, at = (
        fleet.add(Workload("shop", "web", "0", 10.0, calendar="sales" if known else None, lead_s=300.0)),
        slice(0, 1),
    )
    sale = Event("sale", moment_of("wednesday 09:30"), LASTS_S, None)
    fleet.schedule({"sales": Agenda(events=(sale,))})
    stamps_s = THIRD_S - 600.0 - 60.0 * np.arange(15 * 1440)[::-1]
    fleet.backfill_at(row, stamps_s, weekly(stamps_s), 60.0)
    cutoff_s = fleet.due_cutoff_s(row, fleet.ring.end_s)
    fleet.adopt(row, learn(*fleet.lesson([row]), np.array([cutoff_s])), 0, cutoff_s)
    asked = {}
    for step in range(1, 41):
        fleet.ring.advance(THIRD_S - 600.0 + 15.0 * step)
        seen = Sightings.nothing(1)
        seen.load[:] = weekly(np.array([fleet.ring.end_s]))
        made = fleet.decide(at, fleet.see(at, seen))
        asked[step] = made.predicted_replicas[0] * made.capacity[0]
    usual = weekly(np.array([THIRD_S]))[0]
    # Five minutes and the HPA's sync before it begins; declared, not before.
    assert min(asked[step] for step in range(20, 41)) > 0.85 * FACTOR * usual
    assert asked[10 if known else 1] < 1.6 * usual


@pytest.mark.parametrize(("averaged", "came"), [(False, 20.0), (True, 4.0)])
def test_no_more_is_expected_than_came(averaged, came):
    """A minute of 20 in both weeks after next to nothing, and five minutes of 5 now: the rise itself means little."""

    def sparse(t_s):
        since_s = t_s - WEDNESDAY_S
        burst = np.isin(np.floor(since_s / 60.0 - 1e-9), [5 - 7 * 1440, 5 - 14 * 1440])
        return np.where(burst, 20.0, np.where((since_s > -300.0) & (since_s <= 0.0), 5.0, 0.0))

    history = until(sparse, WEDNESDAY_S)
    rows, n = Rows.live(history, np.array([H])), np.ones(1)
    quiet = Quantiles(np.ones((1, 5)), np.ones((1, 5)), n, n)
    said = occasions.expected(quiet, history, rows, np.full((1, EVENTS), np.nan), 0.01 * n, np.array([averaged]))
    assert said.peak[0] == pytest.approx(occasions.RISE * came)
