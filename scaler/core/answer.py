"""Answers of Prometheus's HTTP API → evenly spaced samples. What is not a number is missing, never zero.

Format: https://prometheus.io/docs/prometheus/latest/querying/api/#range-vectors; VictoriaMetrics adds `isPartial`.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from forecasting.forecast import BoolArray, FloatArray, IntArray
from scaler.core.domain import LARGEST_LOAD
from scaler.errors import SourceError

OFF_GRID = 0.01
"""Share of the spacing by which a stamp may miss its place: servers answer for the times asked."""
MOST_SERIES = 100
"""Series of one answer that are looked at; a query for scaling gives one."""
MOST_SHOWN = 300
"""Characters of a server's own text that are repeated."""


def series_of(body: bytes, start_s: float, n: int, spacing_s: float) -> FloatArray:
    """Series of an answer at the n stamps from `start_s` on, (series, n); NaN where missing, infinite or negative.

    Raises:
        SourceError: not an answer of this API, an error, or one that says of itself that it is incomplete.
    """
    answer = _whole(body)
    try:
        result = _result(answer["data"])
        if len(result) > MOST_SERIES:
            raise SourceError(f"the query gives {len(result)} series, more than {MOST_SERIES}: wrap it in sum(…)")
        found = np.full((len(result), n), np.nan)
        for row, each in enumerate(result):
            stamps_s, values = _pairs(each)
            column, inside = _columns((stamps_s - start_s) / spacing_s, n)
            found[row, column] = values[inside]
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise SourceError(f"the answer is not one of Prometheus's API: {shown(body)}") from error
    return found


def _columns(place: FloatArray, n: int) -> tuple[IntArray, BoolArray]:
    """Columns of the stamps that lie on the grid, and which those are."""
    inside = (place > -0.5) & (place < n - 0.5)
    nearest = np.rint(np.where(inside, place, 0.0))
    inside &= np.abs(np.where(inside, place, 0.0) - nearest) < OFF_GRID
    return nearest[inside].astype(np.int64), inside


def _whole(body: bytes) -> Mapping[str, Any]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"the answer is not JSON: {shown(body)}") from error
    if not isinstance(answer, dict):
        raise SourceError(f"the answer is not one of Prometheus's API: {shown(body)}")
    if answer.get("status") != "success":
        raise SourceError(f"the query failed: {shown(answer.get('error', answer.get('status')))}")
    if answer.get("warnings") or answer.get("isPartial"):
        said = answer.get("warnings") or "isPartial"
        raise SourceError(f"the answer is incomplete, so it counts as missing: {shown(said)}")
    return answer


def _result(data: Mapping[str, Any]) -> list[Any]:
    """Series of an answer; a scalar is a series without labels."""
    kind, result = data["resultType"], data["result"]
    if kind == "scalar":
        return [{"value": result}]
    if kind not in {"vector", "matrix"} or not isinstance(result, list):
        raise ValueError(kind)
    return result


def _pairs(series: Mapping[str, Any]) -> tuple[FloatArray, FloatArray]:
    """Stamps and values of one series, (m,) each."""
    if "histogram" in series or "histograms" in series:
        raise SourceError("the query gives native histograms; a number is needed, such as histogram_count(…)")
    pairs = [series["value"]] if "value" in series else series["values"]
    stamps_s = np.array([float(stamp) for stamp, _ in pairs])
    values = np.array([float(value) for _, value in pairs])
    measured = (values >= 0) & (values <= LARGEST_LOAD)
    return stamps_s, np.where(measured, values, np.nan)


def total_of(series: FloatArray) -> FloatArray:
    """The one series among (series, n), (n,): where several give a number it is not a total.

    A workload that was deployed anew may leave two series that follow each other; the stamps where both speak are
    missing.

    Raises:
        SourceError: several series speak most of the time.
    """
    speaking = (~np.isnan(series)).sum(axis=0)
    if 2 * np.count_nonzero(speaking > 1) > np.count_nonzero(speaking):
        raise SourceError(
            f"the query gives {len(series)} series; a total is needed, one series over all replicas: wrap it in sum(…)"
        )
    total = np.where(np.isnan(series), 0.0, series).sum(axis=0)
    return np.where(speaking == 1, total, np.nan)


def error_in(body: bytes) -> str:
    """What a server says went wrong: its API's error, or the beginning of whatever it sent."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return shown(body)
    return shown(answer["error"] if isinstance(answer, dict) and "error" in answer else body)


def shown(text: object) -> str:
    """A server's own text, short and on one line."""
    plain = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
    return " ".join("".join(c if c.isprintable() else " " for c in plain[: 2 * MOST_SHOWN]).split())[:MOST_SHOWN]
