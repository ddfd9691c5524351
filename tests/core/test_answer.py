"""Answers of Prometheus's API: samples, or the reason why there are none."""

import json
import os
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.core.answer import error_in, series_of, total_of
from scaler.errors import SourceError


def matrix(*series, **answer) -> bytes:
    result = [{"metric": {"n": str(n)}, "values": values} for n, values in enumerate(series)]
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}, **answer}).encode()


def test_samples_are_placed_by_their_stamps_and_gaps_are_missing():
    found = series_of(matrix([[1000, "1"], [1030.0, "2.5"]]), 1000.0, 4, 15.0)
    np.testing.assert_array_equal(found, [[1.0, np.nan, 2.5, np.nan]])


@pytest.mark.parametrize("text", ["NaN", "+Inf", "-Inf", "-1", "1e31"])
def test_what_is_no_load_is_missing_and_never_zero(text):
    assert np.isnan(series_of(matrix([[1000, text]]), 1000.0, 1, 15.0)).all()


def test_samples_off_the_times_asked_are_left_out():
    values = [[985, "1"], [1003, "2"], [1000, "3"], [1060, "4"], [float("nan"), "5"], [float("inf"), "6"]]
    np.testing.assert_array_equal(series_of(matrix(values), 1000.0, 2, 15.0), [[3.0, np.nan]])


def test_vectors_and_scalars_are_read_too():
    vector = {"resultType": "vector", "result": [{"metric": {}, "value": [1000.0, "7"]}]}
    scalar = {"resultType": "scalar", "result": [1000.0, "8"]}
    for data, value in ((vector, 7.0), (scalar, 8.0)):
        body = json.dumps({"status": "success", "data": data}).encode()
        assert series_of(body, 1000.0, 1, 1.0).tolist() == [[value]]


def test_no_series_is_a_missing_sample():
    series = series_of(matrix(), 1000.0, 3, 15.0)
    assert series.shape == (0, 3)
    assert np.isnan(total_of(series)).all()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<html><body>Sign in</body></html>", "not JSON: <html>"),
        (b"", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (matrix([[1000, "1"]])[:-9], "not JSON"),
        (b"[]", r"not one of Prometheus's API: \[\]"),
        (b'{"status": "success"}', "not one of Prometheus's API"),
        (b'{"status": "success", "data": {"resultType": "string", "result": [1, "a"]}}', "not one of Prometheus's API"),
        (matrix([[1000, "many"]]), "not one of Prometheus's API"),
        (matrix([[1000]]), "not one of Prometheus's API"),
        (matrix("ab"), "not one of Prometheus's API"),
        (b'{"status": "error", "errorType": "bad_data", "error": "parse error: x"}', "failed: parse error: x"),
        (matrix([[1000, "1"]], warnings=["partial response: store a"]), "incomplete.*partial response: store a"),
        (matrix([[1000, "1"]], isPartial=True), "incomplete"),
        (
            b'{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"histogram":[1,{}]}]}}',
            "native histograms",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_reason(body, reason):
    with pytest.raises(SourceError, match=reason):
        series_of(body, 1000.0, 1, 15.0)


def test_notes_of_the_query_engine_are_no_warnings():
    assert series_of(matrix([[1000, "1"]], infos=["PromQL info: might not be a counter"], warnings=[]), 1000.0, 1, 15.0)


def test_several_series_are_no_total():
    with pytest.raises(SourceError, match=r"gives 3 series; a total is needed.*sum\("):
        total_of(np.ones((3, 4)))


def test_series_that_follow_each_other_are_one_total_without_the_stamps_where_both_speak():
    gone, come = [1.0, 1.0, 1.0, np.nan, np.nan, np.nan], [np.nan, np.nan, 2.0, 2.0, 2.0, np.nan]
    np.testing.assert_array_equal(total_of(np.array([gone, come])), [1.0, 1.0, np.nan, 2.0, 2.0, np.nan])


def test_an_error_is_shown_short_and_on_one_line():
    assert error_in(b'{"error": "line 1\\nline 2\\u0000"}') == "line 1 line 2"
    assert len(error_in(b"x" * 10_000)) == 300


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["status", "data", "resultType", "result", "metric", "values", "value", "warnings", "histogram"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)
STAMP = st.one_of(st.integers(990, 1070), st.floats(), st.text(max_size=4))
VALUE = st.one_of(st.floats().map(str), st.text(max_size=6), st.integers(), st.none())


@st.composite
def answers(draw):
    """Bytes, any JSON, and answers that are nearly right."""
    if draw(st.booleans()):
        return draw(st.binary(max_size=60)) if draw(st.booleans()) else json.dumps(draw(JSON)).encode()
    series = draw(st.lists(st.lists(st.tuples(STAMP, VALUE), max_size=4), max_size=3))
    result = draw(st.just([{"metric": {}, "values": values} for values in series]) | JSON)
    kind = draw(st.sampled_from(["matrix", "vector", "scalar", "string"]))
    return json.dumps({"status": "success", "data": {"resultType": kind, "result": result}}).encode()


@settings(max_examples=100_000 if os.environ.get("FORESAIL_EVIDENCE") == "1" else 1000)
@given(answers())
def test_any_answer_gives_loads_or_a_reason(body):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            total = total_of(series_of(body, 1000.0, 4, 15.0))
        except SourceError as error:
            assert str(error).isprintable()  # noqa: PT017 - either is right
            return
    assert total.shape == (4,)
    assert ((total >= 0) & (total <= 1e30) | np.isnan(total)).all()


def test_a_crowd_of_series_is_refused_before_it_takes_memory() -> None:
    one = {"metric": {"pod": "x"}, "values": [[1000.0, "1"]]}
    body = json.dumps({"status": "success", "data": {"resultType": "matrix", "result": [one] * 3000}}).encode()
    with pytest.raises(SourceError, match=r"3000 series.*wrap it in sum"):
        series_of(body, 1000.0, 10_000, 15.0)
