"""Why a number: bounds, sentences and guardrails of recorded decisions, single ones and those of simulated weeks."""

import math
import os
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from forecasting import boosting
from forecasting.catalog import BOOSTING
from forecasting.explanation import PARTS
from forecasting.forecast import FloatArray
from scaler.core.domain import UNKNOWN, Mode, Running, Workload, take
from scaler.core.gate import Losses
from scaler.core.guardrails import NAMES
from scaler.core.learning import Learnt, stacked
from scaler.core.signals import Samples, Signal
from scaler.core.trust import Cause
from scaler.engine import Engine
from scaler.errors import NotKept
from scaler.explaining import COARSER, REPLACED, Explanation, explained
from scaler.reasons import Told, bound_of, headline, listed, number, pushes, sentences
from scaler.record import LAYOUT, Recorded, columns_of
from scaler.roster import Key
from scaler.settings import Settings
from tests.fakes import DAY_S, WEDNESDAY_S
from tests.forecasting.test_explanation import SMALL
from tests.service import Clock, declared

EVIDENCE = os.environ.get("FORESAIL_EVIDENCE") == "1"
N, DAYS = (1000, 7.0) if EVIDENCE else (40, 0.75)
KINDS = range(12) if EVIDENCE else (1, 3, 6)


def some_record(n_replicas: int = 12, **fields: Any) -> Recorded:
    """A calm decision for `n_replicas` while 9 run, nothing clamped, but for what is given."""
    row = np.zeros(1, LAYOUT)
    row["t"], row["step"], row["h"] = WEDNESDAY_S + 9 * 3600.0, 15.0, 20
    for name in ("proposal", "predictive", "reactive", "reactive_alone", "reached", *(f"after_{n}" for n in NAMES)):
        row[name] = n_replicas
    row["value"], row["replicas"], row["ready"] = n_replicas, 9, 9
    row["capacity"], row["threshold"], row["price"] = 95.0, 80.0, 97.0 / 3.0
    row["peak"] = row["path"] = 95.0 * n_replicas
    row["ceiling"], row["active"], row["minimum"], row["maximum"] = np.inf, 1, 1, 100
    row["mode"], row["cause"], row["tolerance"], row["tolerance_down"] = Mode.NORMAL, Cause.EARNED, 0.1, 0.1
    row["learned"] = UNKNOWN
    for name, value in fields.items():
        row[name] = value
    return columns_of(row)


def said(kept: Recorded, parts: dict[str, float] | None = None, **more: Any) -> str:
    values = np.array([(parts or {}).get(name, 0.0 if parts else math.nan) for name in PARTS])
    told = Told(
        bound_of(kept, 0, queue=bool(more.get("queue"))),
        values,
        **{"doubt": None, "event": None, "queue": False, "observed": False, **more},
    )
    return " ".join(sentences(kept, 0, told))


def test_a_decision_reads_as_it_was_made() -> None:
    kept = some_record(12, reactive_alone=9)
    parts = {"level": 610.0, "day": 310.0, "week": -40.0, "event": 200.0, "correction": 60.0}
    assert headline("shop/web", kept, 0) == "shop/web, 2026-09-16 09:00:00 UTC: 12 replicas; 9 run."
    assert said(kept, parts, event="sale") == (
        "Until 09:05 UTC the load stays below 1,140 with 97 % probability; "
        "at 95 per replica that asks for 12 replicas. "
        "It rests on 610, the load of then: day +310, week −40, event sale +200, correction +60. "
        "Mode Normal (coverage and skill held for the trial): the forecast is served. That proposes 12 replicas. "
        "Nothing was clamped. The HPA rule alone would run 9 replicas, the forecast alone 12 replicas. "
        "Sent 12 (exact, outside the HPA's tolerance of 10 %)."
    )


def test_none_and_one_read_as_english() -> None:
    one = some_record(1, replicas=1)
    assert headline("shop/web", one, 0).endswith("1 replica; 1 runs.")
    assert "that asks for 1 replica. " in said(one)
    assert "alone would run 1 replica, the forecast alone 1 replica." in said(one)
    assert said(one).endswith("Sent 1: 1 runs already.")
    none = some_record(0, replicas=0, active=0, reached=UNKNOWN)
    assert headline("shop/web", none, 0).endswith("no replicas; none runs.")
    assert "Until 09:05 UTC no load comes, with 97 % probability." in said(none)
    assert "rests" not in said(none, {"level": 0.0, "chance": 4e-14})
    assert said(none).endswith("Sent 0: there is no load and none is likely, so KEDA may scale to zero.")


def test_every_guardrail_that_moved_the_number_is_named() -> None:
    kept = some_record(12, proposal=9, after_stabilization=11, after_rate=10, **{f"after_{n}": 10 for n in NAMES[2:5]})
    assert [push.name for push in pushes(kept, 0)] == ["stabilization", "rate", "burst_floor"]
    assert (
        "Guardrails: stabilization raised it from 9 to 11, rate lowered it from 11 to 10 and "
        "burst_floor raised it from 10 to 12."
    ) in said(kept)
    assert listed(["a"]) == "a"
    assert listed(["a", "b"]) == "a and b"


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"mode": Mode.LEARNING, "cause": Cause.YOUNG}, "Mode Learning (too little history, or no forecast): the HPA"),
        ({"mode": Mode.RECOVERY, "earned": 0.5}, "at once, and 50 % of what is less"),
        ({"mode": Mode.FAILED, "cause": Cause.SILENT}, "what was decided last is held; KEDA's own fallback acts."),
        ({"shadow": 1}, "the HPA rule's answer is served, for it is in shadow"),
        ({"learned": 10, "move": 1}, "The agent's move: 3 % less. It would keep 10 replicas; it is in shadow."),
        ({"learned": 10, "acting": 1}, "The agent's move: hold. It would keep 10 replicas. Mode Normal (coverage and"),
        ({"learned": 10, "acting": 1}, "the agent's need is served"),
        ({"predictive": UNKNOWN}, "There is no forecast."),
        ({"predictive": UNKNOWN}, "The HPA rule alone would run 12 replicas. "),
        ({"value": 11.1, "replicas": 14}, "Sent 11.1, which the HPA, with its tolerance of 10 %, turns into 12 repl"),
        ({"replicas": 11, "value": 11, "reached": 11}, "Sent 11; the HPA stays at 11 replicas, by its tolerance"),
        ({"replicas": UNKNOWN, "reached": UNKNOWN}, "Sent 12; what runs is not known"),
    ],
)
def test_what_was_served_and_sent_is_said(fields: dict[str, Any], text: str) -> None:
    assert text in said(some_record(12, **fields))


def test_what_stays_between_both_prices_is_said_to_stay() -> None:
    quantiles = 95.0 * np.array([8.0, 10.0, 12.5, 15.0, 16.0])
    kept = some_record(12, peak=quantiles, replicas=12)
    bound = bound_of(kept, 0, queue=False)
    assert bound.fewest < 12 < bound.most
    assert bound.load == 12 * 95.0
    assert f"is worth {bound.fewest} to {bound.most} replicas; 12 run and stay, enough with" in said(kept)


def test_a_backlog_asks_for_its_share() -> None:
    kept = some_record(3, peak=160.0, clearing=80.0, predictive=3)
    assert bound_of(kept, 0, queue=False).load == pytest.approx(160.0)
    asked = (
        "With 97 % probability no more than 160 messages per second arrive until 09:05 UTC; for half of them and the "
        "backlog's 80, at 95 per replica, 2 replicas are worth keeping"
    )
    assert f"{asked}." in said(some_record(2, peak=160.0, clearing=80.0, predictive=2), queue=True)
    bought = some_record(1, peak=160.0, clearing=80.0, predictive=1)
    assert f"{asked}, of which 1 will do: messages may wait." in said(bought, queue=True)
    held = bound_of(
        some_record(30, capacity=10.0, peak=[100.0, 180.0, 240.0, 290.0, 310.0], clearing=80.0), 0, queue=False
    )
    assert held.fewest < 30 < held.most
    assert held.load == 30 * 10.0 - 80.0


def test_loads_are_written_for_people() -> None:
    assert [number(v) for v in (1234567.8, 99.94, 0.01234, 0.0)] == ["1,234,568", "99.9", "0.0123", "0"]


class Weeks:
    """Loads of a dozen kinds, by the workload's name."""

    def admit(self, workload: Workload) -> None:
        del workload

    async def read(self, workload: Workload, signal: Signal, end_s: float, n: int, spacing_s: float) -> Samples:
        del signal
        values = load(int(workload.name), end_s - spacing_s * np.arange(n - 1, -1, -1.0))
        return Samples(values, values)


def load(kind: int, t_s: FloatArray) -> FloatArray:
    """A load of one of six kinds: seasons, noise, bursts, nothing for hours, gaps, growth."""
    noise = np.abs(np.sin(t_s * 12.9898 + kind) * 43758.5453) % 1.0
    day = 1.0 + 0.7 * np.sin(2 * np.pi * t_s / DAY_S + kind)
    base = {
        0: 500.0 * day,
        1: 40.0 * day * (1.0 + (noise > 0.97) * 3.0),
        2: np.where(t_s // 7200 % 4 == kind % 4, 900.0, 0.0),
        3: np.where(t_s % 18_000 < 4000, np.nan, 300.0 * day),
        4: np.where(noise > 0.9, 8.0, 0.0),
        5: 5000.0 * day * np.exp((t_s - WEDNESDAY_S) / DAY_S / 20.0),
    }[kind % 6]
    return np.asarray(base * (0.9 + 0.2 * noise))


class Follows:
    """Replicas that follow what was decided a tick ago, within bounds that differ."""

    def __init__(self) -> None:
        self.engine: Engine | None = None

    def running(self, key: Key, t_s: float) -> Running | None:
        assert self.engine is not None
        posted, kind = self.engine.board.get(key), int(key.name)
        now = 5 if posted is None else int(posted.decisions.predicted_replicas[posted.row])
        fixed = 7 if kind == 6 and t_s % DAY_S > 60_000.0 else UNKNOWN
        return Running(now, now, 0, 40 if kind % 2 else 200, 0.1, override=fixed, paused=kind == 7)


async def simulated(kinds: Iterable[int]) -> tuple[Engine, Clock, list[Key]]:
    """Workloads of some kinds, with a week of history and a fitted model each."""
    clock, cluster = Clock(), Follows()
    engine = Engine(Settings(), Weeks(), cluster, clock)
    cluster.engine = engine
    more = {3: {"maxReplicaHoursPerDay": "200"}, 8: {"shadow": "true"}, 1: {"minReplicas": "3"}}
    keys = [engine.declare(declared(str(kind), step="300s", **more.get(kind, {}))) for kind in kinds]
    for key in keys:
        await engine.introduce(key)
        fit(engine, key)
    return engine, clock, keys


def fit(engine: Engine, key: Key) -> None:
    """What the service does in a process of its own, in little."""
    fleet, row = engine.row_of(key)
    history = fleet.history(slice(row, row + 1))
    fitted, model = boosting.fit(history, 1, averaged=False, config=SMALL), fleet.models.boosting
    for name in boosting.BoostingParams.__slots__:
        values = getattr(fitted, name)[0]
        if name in {"feature", "threshold", "leaf"}:  # fewer trees than there is room for; the others add nothing
            getattr(model, name)[row, : len(values)] = values
        else:
            getattr(model, name)[row] = values
    fleet.models.speaker[row], fleet.models.cutoff_s[row] = BOOSTING, int(fleet.ring.end_s)


def assert_right(one: Explanation) -> None:
    kept, told = one.kept, one.told
    text = f"{one.headline} {' '.join(one.sentences)}"
    if kept.predictive[0] != UNKNOWN:
        assert told.bound.fewest <= kept.predictive[0] <= told.bound.most
        asks = (told.bound.load + kept.clearing[0]) / kept.capacity[0]
        slack = 1e-5 * asks + 1e-6  # quantiles are kept in single precision
        assert kept.predictive[0] - 1 - slack <= asks <= kept.predictive[0] + slack
    if told.doubt is None or told.doubt == COARSER:
        assert abs(told.parts.sum() - told.bound.load) <= 1e-6 * max(told.bound.load, 1e-9) or np.isnan(told.bound.load)
    after = [int(kept.proposal[0]), *kept.guarded[0].tolist()]
    for name, was, became in zip(NAMES, after, after[1:], strict=False):
        assert (f"{name} {'raised' if became > was else 'lowered'} it from {was:,} to {became:,}" in text) == (
            was != became
        )
    assert ("Nothing was clamped." in text) == (len(set(after)) == 1)
    assert f"alone would run {kept.reactive_alone[0]:,} replica" in text or "alone would run no replicas" in text
    assert_english(text)
    assert all(sentence[0].isupper() and sentence.endswith(".") for sentence in one.sentences)


def assert_english(text: str) -> None:
    assert not re.search(r"(?<![\d,.])1 (replicas|run)\b", text), text
    assert not re.search(r"\b(0|no) replica\b|\b0 replicas", text), text
    assert not re.search(r"(?<![\d,.])(?!1 )[\d,]+ (replica|runs)\b", text), text
    assert not re.search(r"nan|None|inf\b|  |−1 |(?<!\d)-1", text), text


@pytest.mark.timeout(7200 if EVIDENCE else 120)
async def test_random_decisions_of_simulated_weeks_are_explained() -> None:
    engine, clock, keys = await simulated(KINDS)
    rng, n_ticks, seen, whole = np.random.default_rng(5), round(DAYS * DAY_S / 300.0), set[str](), 0
    chosen = np.bincount(rng.integers(0, n_ticks, N), minlength=n_ticks)
    for tick in range(n_ticks):
        clock.now_s += 300.0
        await engine.tick(300.0, clock.now_s)
        if tick % 576 == 575:
            for key in keys:
                fit(engine, key)
        for _ in range(chosen[tick]):
            one = await explained(engine, keys[int(rng.integers(len(keys)))], clock.now_s)
            assert one.kept.t_s.tolist() == [clock.now_s]
            assert_right(one)
            whole += not np.isnan(one.told.parts).any()
            seen |= {push.name for push in pushes(one.kept, 0)} | {Mode(int(one.kept.mode[0])).label}
    assert whole > 0.6 * N
    assert {"stabilization", "bounds", "Normal"} <= seen


async def test_a_forecast_of_now_is_recomputed_to_the_last_digit_and_an_older_one_says_that_it_may_not_be() -> None:
    engine, clock, keys = await simulated([0])
    for _ in range(3):
        clock.now_s += 300.0
        await engine.tick(300.0, clock.now_s)
    key = keys[0]
    now = await explained(engine, key, clock.now_s)
    assert now.told.doubt is None
    posted = engine.board.answer(key)
    fleet, row = engine.row_of(key)
    assert not fleet.persistent(slice(row, row + 1))[0]
    assert abs(now.told.parts[-1]) < 1e-6 * now.told.bound.load, "nothing is shifted before the first look"
    assert posted.decisions.predictive[posted.row] == now.kept.predictive[0]
    then = await explained(engine, key, clock.now_s - 301.0)
    assert then.kept.t_s.tolist() == [clock.now_s - 600.0]
    state, at = fleet._rows.state, slice(row, row + 1)
    nothing = Losses(*np.full((3, len(fleet.workloads)), np.nan), np.zeros(len(fleet.workloads), np.int64))
    parts = (fleet.models, fleet.models, nothing, state.price, fleet._rows.record, fleet._rows.ensemble, state.trust)
    learnt = stacked([Learnt(*(take(part, at) for part in parts))])  # a copy: what is taken is a view
    fleet.adopt(row, learnt, 0, clock.now_s)
    assert (await explained(engine, key, clock.now_s)).told.parts.tolist() == now.told.parts.tolist()
    fleet.adopt(row, learnt, 0, clock.now_s + 60.0)
    replaced = await explained(engine, key, clock.now_s)
    assert replaced.told.doubt == REPLACED
    assert f"What that rests on cannot be told: {REPLACED}." in replaced.sentences
    with pytest.raises(NotKept, match="no decision is kept"):
        await explained(engine, key, clock.now_s - 10 * DAY_S)
