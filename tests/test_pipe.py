"""`foresail pipe` as others use it: lines in, lines out."""

import io
import json
import math

import numpy as np
import pytest

from forecasting.forecast import LEVELS
from scaler import pipe
from tests.fakes import DAY_S, WEDNESDAY_S, seasonal_load

DECLARED = {"name": "web", "threshold": 20, "capacity": 28, "leadTime": "90s", "maxReplicas": 60, "minReplicas": 1}
ANSWER = ["t", "replicas", "value", "mode", "cause", "held_by", "reactive", "predictive", "level", "quantiles"]


def ran(*lines: object, declared: object = DECLARED) -> tuple[int, list[dict], str]:
    """Exit code, answers and notices for a declaration and lines, each an object or raw text."""
    texts = [line if isinstance(line, str) else json.dumps(line) for line in (declared, *lines)]
    out, err = io.StringIO(), io.StringIO()
    code = pipe.run(io.StringIO("".join(text + "\n" for text in texts)), out, err)
    return code, [json.loads(line) for line in out.getvalue().splitlines()], err.getvalue()


def live(n: int, load=100.0, start: int = 1, **observed) -> list[dict]:
    """n observations, one every 15 s from Wednesday midnight on."""
    loads = load if isinstance(load, list) else [load] * n
    return [
        {"t": WEDNESDAY_S + 15 * (start + i), "load": loads[i], "replicas": 6, "ready": 6} | observed for i in range(n)
    ]


def week(span_s: float = 7 * DAY_S, load=None) -> list[dict]:
    """History, one sample a minute up to Wednesday midnight."""
    stamps_s = WEDNESDAY_S - 60.0 * np.arange(round(span_s / 60.0))[::-1]
    values = (load or seasonal_load())(stamps_s)
    return [{"t": t, "load": y, "history": True} for t, y in zip(stamps_s.tolist(), values.tolist(), strict=True)]


@pytest.fixture(scope="module")
def week_and_some() -> tuple[int, list[dict], str]:
    return ran(*week(), *live(40, load=(200 + 20 * np.sin(np.arange(40))).tolist()))


def test_every_live_line_is_answered_and_no_line_of_history(week_and_some):
    code, answers, _ = week_and_some
    assert code == 0
    assert [a["t"] for a in answers] == [WEDNESDAY_S + 15 * i for i in range(1, 41)]
    assert all(list(a) == ANSWER for a in answers)


def test_after_a_week_of_history_the_forecast_is_trusted_from_the_first_line(week_and_some):
    _, answers, err = week_and_some
    assert {a["mode"] for a in answers} == {"Normal"}
    assert all(isinstance(a["predictive"], int) for a in answers)
    assert all(list(a["quantiles"]) == [f"{p:g}" for p in LEVELS] for a in answers)
    assert all(list(a["quantiles"].values()) == sorted(a["quantiles"].values()) for a in answers)
    assert all(1 <= a["replicas"] <= 60 and a["value"] > 0 for a in answers)
    assert all(0.8 <= a["level"] <= 0.999 for a in answers)
    assert "refits took" in err


def test_the_replicas_bear_the_load(week_and_some):
    _, answers, _ = week_and_some
    assert all(a["replicas"] * 28 >= 200 + 20 * np.sin(i) for i, a in enumerate(answers))


def test_two_runs_give_the_same_bytes():
    lines = [*week(DAY_S), *live(240, load=(100 + 50 * np.sin(np.arange(240) / 30)).tolist())]
    texts = "".join(json.dumps(line) + "\n" for line in (DECLARED, *lines))
    outs = [io.StringIO(), io.StringIO()]
    for out in outs:
        assert pipe.run(io.StringIO(texts), out, io.StringIO()) == 0
    assert outs[0].getvalue() == outs[1].getvalue()
    assert len(outs[0].getvalue().splitlines()) == 240


def test_each_answer_is_flushed():
    class Counting(io.StringIO):
        flushed = 0

        def flush(self) -> None:
            self.flushed += 1

    out = Counting()
    pipe.run([json.dumps(line) for line in (DECLARED, *live(5))], out, io.StringIO())
    assert out.flushed == 5


def test_without_history_it_learns_and_serves_the_rule():
    _, answers, _ = ran(*live(3))
    assert [a["mode"] for a in answers] == ["Learning"] * 3
    assert all(a["predictive"] is None and a["quantiles"] is None for a in answers)
    assert all(a["replicas"] == a["reactive"] == 6 for a in answers)  # 100 / 20 = 5 waits for the window


def test_replicas_may_be_left_out():
    code, answers, _ = ran(*({"t": WEDNESDAY_S + 15 * i, "load": 100.0} for i in range(1, 5)))
    assert code == 0
    assert answers[-1]["replicas"] >= 4
    assert answers[-1]["value"] == answers[-1]["replicas"]


@pytest.mark.parametrize(
    ("declared", "complaint"),
    [
        ({"threshold": -1}, "threshold must be a positive number"),
        ({"threshold": "NaN"}, "threshold must be a positive number"),
        ({}, "threshold is required"),
        ({"treshold": 5}, "unknown key 'treshold': did you mean 'threshold'?"),
        ({"threshold": 5, "capacity": 0}, "capacity must be a positive number"),
        ({"threshold": 5, "minReplicas": 9, "maxReplicas": 3}, "minReplicas must not exceed maxReplicas"),
        ({"threshold": 5, "customHeaders": "a=b"}, "customHeaders is refused"),
        ({"threshold": [5]}, "threshold must be text or a number, not [5]"),
        ({"threshold": None}, "threshold must be text or a number, not null"),
        ({"threshold": 5, "shadow": 1}, 'shadow must be "true" or "false", not \'1\''),
        ("[1, 2]", "a JSON object is needed"),
        ("{", "not JSON"),
        ("", "not JSON"),
        ("[" * 60_000, "not JSON"),
        ('{"threshold": "' + "5" * 100_000 + '"}', "at most 65536 are read"),
    ],
)
def test_a_workload_that_cannot_be_understood_ends_it_with_its_key(declared, complaint):
    code, answers, err = ran(*live(2), declared=declared)
    assert (code, answers) == (2, [])
    assert err.startswith("foresail pipe: line 1: ")
    assert complaint in err
    assert len(err) < 1000


def test_no_input_at_all_is_a_workload_that_cannot_be_understood():
    err = io.StringIO()
    assert pipe.run([], io.StringIO(), err) == 2
    assert "line 1" in err.getvalue()


def test_keys_that_are_not_active_yet_are_named():
    _, _, err = ran(*live(1), declared={**DECLARED, "query": "up", "metricName": "load"})
    assert "understood, but not active in this version: metricName" in err


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("", "not JSON"),
        ("nonsense", "not JSON"),
        ('{"t": 1', "not JSON"),
        ("[" * 60_000, "not JSON"),
        ('{"a":' * 10_000, "not JSON"),
        ("9" * 5000, "not JSON"),
        ("42", "a JSON object is needed, not '42'"),
        ("null", "a JSON object is needed"),
        ('"' + "x" * 70_000 + '"', "line of 70003 characters: at most 65536 are read"),
        ({"load": 5}, "t must be Unix seconds, not null"),
        ({"t": "now", "load": 5}, 't must be Unix seconds, not "now"'),
        ({"t": True, "load": 5}, "t must be Unix seconds, not true"),
        ({"t": math.nan, "load": 5}, "t must be Unix seconds, not NaN"),
        ({"t": math.inf, "load": 5}, "t must be Unix seconds, not Infinity"),
        ({"t": -5, "load": 5}, "t must be Unix seconds, not -5"),
        ({"t": 1e300, "load": 5}, "t must be Unix seconds"),
        ({"t": WEDNESDAY_S + 30, "load": "many"}, 'load must be a number or null, not "many"'),
        ({"t": WEDNESDAY_S + 30, "load": True}, "load must be a number or null, not true"),
        ({"t": WEDNESDAY_S + 30, "load": [1]}, "load must be a number or null, not [1]"),
        ({"t": WEDNESDAY_S + 30, "load": 5, "replicas": -1}, "replicas must be a whole number or null, not -1"),
        ({"t": WEDNESDAY_S + 30, "load": 5, "replicas": 2.5}, "replicas must be a whole number or null, not 2.5"),
        ({"t": WEDNESDAY_S + 30, "load": 5, "ready": math.nan}, "ready must be a whole number or null, not NaN"),
        ({"t": WEDNESDAY_S + 30, "load": 5, "ready": 1e9}, "ready must be a whole number or null"),
        ({"t": WEDNESDAY_S + 30, "load": 5, "cpu": "hot"}, 'cpu must be a number or null, not "hot"'),
        ({"t": WEDNESDAY_S + 15, "load": 5}, "time must move on by a step of 15 s"),  # duplicate
        ({"t": WEDNESDAY_S + 29, "load": 5}, "time must move on by a step of 15 s"),  # inside the same step
        ({"t": WEDNESDAY_S - 900, "load": 5}, "time must move on by a step of 15 s"),  # out of order
        ({"t": WEDNESDAY_S, "load": 5, "history": True}, "history must come before the first live observation"),
    ],
)
def test_a_line_that_cannot_be_used_is_answered_with_its_error_and_changes_nothing(line, complaint):
    before, after = live(1), live(3, start=2)
    code, answers, _ = ran(*before, line, *after)
    assert code == 0
    assert len(answers) == 5
    assert complaint in answers[1]["error"]
    assert answers[1]["line"] == 3
    assert len(answers[1]["error"]) < 300
    _, unharmed, _ = ran(*before, *after)
    assert [answers[0], *answers[2:]] == unharmed


def test_history_out_of_order_is_refused_and_the_rest_kept():
    past = week(3600.0)
    _, answers, _ = ran(*past[:30], past[3], past[29], *past[30:], *live(1))
    assert [("time must move on" in a.get("error", "")) for a in answers] == [True, True, False]


@pytest.mark.parametrize("bad", ["NaN", "Infinity", "-Infinity", "-5", "1e999", "1e200", "null"])
def test_a_sample_that_is_no_load_counts_as_missing(bad):
    lines = [*live(2), f'{{"t": {WEDNESDAY_S + 45}, "load": {bad}, "replicas": 6}}', *live(1, start=4)]
    code, answers, err = ran(*lines)
    _, missing, _ = ran(*live(2), {"t": WEDNESDAY_S + 45, "replicas": 6}, *live(1, start=4))
    assert code == 0
    assert answers == missing
    assert answers[2]["replicas"] == 6
    assert ("1 samples were negative, infinite or beyond" in err) == (bad not in {"NaN", "null"})


@pytest.mark.parametrize("load", [0, 1e-9, 1e12, 1e30])
def test_any_load_that_can_be_measured_is_answered(load):
    code, answers, err = ran(*week(6 * 3600.0, lambda t_s: np.full(len(t_s), load)), *live(8, load=load))
    assert (code, len(answers)) == (0, 8)
    assert all(1 <= a["replicas"] <= 60 for a in answers)
    assert "count as missing" not in err


def test_a_load_that_stops_is_held_after_a_minute_and_fails_after_ten():
    _, answers, _ = ran(*live(4), *live(41, load=None, start=5))
    modes = [a["mode"] for a in answers]
    assert modes == ["Learning"] * 7 + ["Holding"] * 36 + ["Failed"] * 2
    assert {a["replicas"] for a in answers[4:]} == {answers[3]["replicas"]}


def test_a_load_that_comes_back_is_served_again():
    _, answers, _ = ran(*live(4), *live(50, load=None, start=5), *live(2, start=55))
    assert [a["mode"] for a in answers[-3:]] == ["Failed", "Learning", "Learning"]


def test_a_gap_in_time_is_a_gap_in_the_load():
    _, answers, _ = ran(*live(4), *live(1, start=400), *live(1, start=100_000))
    assert [a["t"] - WEDNESDAY_S for a in answers[4:]] == [6000.0, 1_500_000.0]
    assert all(a["replicas"] >= 4 for a in answers)


def test_the_time_of_an_answer_is_the_step_of_its_observation():
    _, answers, _ = ran({"t": WEDNESDAY_S + 22.7, "load": 5}, {"t": WEDNESDAY_S + 31.2, "load": 5})
    assert [a["t"] for a in answers] == [WEDNESDAY_S + 15, WEDNESDAY_S + 30]


def test_a_jump_above_the_forecast_is_met_at_once():
    _, answers, _ = ran(*week(), *live(4, load=200.0), *live(1, load=700.0, start=5))
    assert answers[-1]["replicas"] == 25
    assert answers[-1]["held_by"][-1] == "load_floor"


def test_a_jump_beyond_all_that_was_seen_buys_the_hpas_own_growth_until_it_is_corroborated():
    _, answers, _ = ran(*week(), *live(4, load=200.0), *live(1, load=1400.0, start=5))
    assert (answers[-1]["replicas"], answers[-1]["mode"]) == (12, "Degraded")
    assert answers[-1]["cause"] == "an implausible jump of the load"
    _, answers, _ = ran(*week(), *live(4, load=200.0), *live(1, load=1400.0, start=5, cpu=0.95))
    assert (answers[-1]["replicas"], answers[-1]["mode"]) == (50, "Normal")


def test_a_queue_is_decided_from_depth_and_arrivals():
    declared = {
        "name": "mail",
        "kind": "queue",
        "threshold": 100,
        "capacity": 5,
        "latencyTarget": "60s",
        "leadTime": "60s",
        "maxReplicas": 50,
    }
    arrivals = week(DAY_S, lambda t_s: 40.0 + 5.0 * np.sin(2 * np.pi * t_s / DAY_S))
    code, answers, _ = ran(*arrivals, *live(20, load=600.0, arrivals=42.0, replicas=8, ready=8), declared=declared)
    assert (code, len(answers)) == (0, 20)
    assert all(a["predictive"] is not None for a in answers)
    # 600 / 100 by the rule, 8 × 100 within its window; about 40 / 5 arrivals and the backlog by the forecast.
    assert all(8 <= a["replicas"] <= 20 for a in answers)


def test_a_queue_without_a_capacity_is_reactive_only():
    declared = {"name": "mail", "kind": "queue", "threshold": 100, "maxReplicas": 50}
    _, answers, _ = ran(*live(5, load=1200.0), declared=declared)
    assert all(a["predictive"] is None for a in answers)
    assert answers[-1]["replicas"] == 12


def test_in_shadow_the_rule_is_served():
    _, answers, _ = ran(*week(DAY_S), *live(3, load=100.0), declared={**DECLARED, "shadow": True})
    assert all(a["replicas"] == a["reactive"] for a in answers)
    assert all(a["predictive"] is not None for a in answers)


def test_unknown_keys_of_an_observation_do_not_matter():
    _, answers, _ = ran(*live(2, comment="deployed", cpu=0.5, latency=None))
    assert len(answers) == 2


def test_a_wide_step_is_decided_on_its_own_grid():
    declared = {**DECLARED, "step": "5m"}
    lines = [{"t": WEDNESDAY_S + 300 * i, "load": 100.0, "replicas": 6} for i in range(1, 6)]
    _, answers, _ = ran(*week(2 * DAY_S), *lines, declared=declared)
    assert [a["t"] for a in answers] == [line["t"] for line in lines]
    assert all(a["mode"] != "Failed" for a in answers)


def minutes(n: int, cpu: bool = True) -> list[dict]:
    """n minutes on 10 replicas that bear 25 each at 80 % of their CPU; the load swings in two hours."""
    swing = 150.0 + 80.0 * np.sin(2 * np.pi * np.arange(n) / 120.0)
    used = 0.1 + 0.7 * swing / 250.0
    return [
        {"t": WEDNESDAY_S + 60 * (i + 1), "load": swing[i], "replicas": 10, "ready": 10}
        | ({"cpu": used[i]} if cpu else {})
        for i in range(n)
    ]


def test_a_capacity_of_auto_is_learnt_and_decided_with():
    declared = {"name": "web", "threshold": 10, "capacity": "auto", "step": "60s", "leadTime": "90s"}
    _, learnt, err = ran(*week(DAY_S), *minutes(240), declared=declared)
    _, without, told = ran(*week(DAY_S), *minutes(240, cpu=False), declared=declared)
    assert "one replica was found to bear 25 (" in err
    assert "is not identifiable: the threshold, 10, is used" in told
    assert learnt[100] == without[100]
    assert learnt[-1]["predictive"] <= 0.5 * without[-1]["predictive"]
    assert learnt[-1]["reactive"] == without[-1]["reactive"]


def test_a_stated_capacity_that_is_far_off_is_told_and_used():
    declared = {"name": "web", "threshold": 10, "capacity": 14, "step": "60s", "leadTime": "90s"}
    _, answers, err = ran(*minutes(240), declared=declared)
    _, blind, told = ran(*minutes(240, cpu=False), declared=declared)
    assert "capacity is stated as 14, one replica was found to bear 25 (" in err
    assert answers == blind
    assert "capacity" not in told
    _, _, near = ran(*minutes(240), declared={**declared, "capacity": 24})
    assert "capacity" not in near
