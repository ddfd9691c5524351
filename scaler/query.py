"""What a query yields: the tree of `promql` over samples, on a grid of times, as Prometheus would evaluate it.

    spans_of     which samples each selector needs
    evaluated    the series at every time of the grid; NaN where a series has nothing to say

At a time t counts the newest sample of the five minutes before it; a NaN says that there is none.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from forecasting.forecast import BoolArray, FloatArray, IntArray
from scaler.errors import QuerySyntaxError, QueryTooLarge, RequestError
from scaler.promql import (
    COMPARISONS,
    Aggregate,
    Binary,
    Expression,
    OverTime,
    Selector,
    scalar,
)

LOOKBACK_S = 300.0
"""Age at which a sample is forgotten, as in Prometheus."""
MOST_POINTS = 11_000
"""Points of one series in one answer, as in Prometheus."""
MOST_CELLS = 2_000_000
"""Points of one answer, all series together."""
MOST_LOOKED_AT = 50_000_000
"""Samples that the ranges of one query may hold, each counted at every time: as in Prometheus."""

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Curve:
    """Samples of one series, oldest first; NaN: it ends here until the next one."""

    labels: Labels
    stamps_s: FloatArray
    values: FloatArray


@dataclass(frozen=True, slots=True)
class Line:
    """One series on the grid."""

    labels: Labels
    values: FloatArray
    """(T,), NaN where there is nothing."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Times of an evaluation."""

    start_s: float
    step_s: float
    n: int

    @property
    def times_s(self) -> FloatArray:
        """(n,)"""
        return np.asarray(self.start_s + self.step_s * np.arange(self.n), np.float64)

    @property
    def end_s(self) -> float:
        """The last of them."""
        return self.start_s + self.step_s * (self.n - 1)


def grid_of(start_s: float, end_s: float, step_s: float) -> Grid:
    """Times from `start_s` on, up to `end_s`. Raises RequestError in Prometheus' words."""
    if end_s < start_s:
        raise RequestError("end timestamp must not be before start time")
    if step_s <= 0.0:
        raise RequestError("zero or negative query resolution step widths are not accepted. Try a positive integer")
    if (end_s - start_s) / step_s > MOST_POINTS:
        raise RequestError(
            "exceeded maximum resolution of 11,000 points per timeseries. "
            "Try decreasing the query resolution (?step=XX)"
        )
    return Grid(start_s, step_s, int((end_s - start_s) / step_s + 1e-9) + 1)


def selectors(expression: Expression) -> Iterator[Selector]:
    """All selectors of an expression."""
    if isinstance(expression, Selector):
        yield expression
    elif isinstance(expression, OverTime):
        yield expression.selector
    elif isinstance(expression, Aggregate):
        yield from selectors(expression.expression)
    elif isinstance(expression, Binary):
        yield from selectors(expression.left)
        yield from selectors(expression.right)


def span_of(selector: Selector, grid: Grid) -> tuple[float, float]:
    """From when to when a selector's samples matter: stamps in (from, to]."""
    back_s = LOOKBACK_S if selector.range_s is None else selector.range_s
    return grid.start_s - selector.offset_s - back_s, grid.end_s - selector.offset_s


def evaluated(expression: Expression, grid: Grid, found: Mapping[Selector, Sequence[Curve]]) -> list[Line] | FloatArray:
    """Series of an expression, or, without any, its number at each time.

    Raises:
        QueryTooLarge: more points, or more samples in ranges, than one answer may hold.
        QuerySyntaxError: series that cannot be told apart.
    """
    number = scalar(expression)
    if number is not None:
        return np.full(grid.n, number)
    return _Evaluation(grid, found).lines(expression)


class _Evaluation:
    def __init__(self, grid: Grid, found: Mapping[Selector, Sequence[Curve]]) -> None:
        self._grid, self._found = grid, found
        self._looked_at = 0

    def lines(self, expression: Expression) -> list[Line]:
        if isinstance(expression, Selector):
            return self._selected(expression)
        if isinstance(expression, OverTime):
            return _told_apart([self._over_time(expression, one) for one in self._of(expression.selector)])
        if isinstance(expression, Aggregate):
            return self._together(expression)
        if isinstance(expression, Binary):
            return self._calculated(expression)
        raise QuerySyntaxError("a number where series are expected")

    def _of(self, selector: Selector) -> Sequence[Curve]:
        series = self._found[selector]
        if len(series) * self._grid.n > MOST_CELLS:
            raise QueryTooLarge(
                f"{len(series)} series at {self._grid.n} times are more than {MOST_CELLS} points: choose fewer"
                " workloads, a shorter range or a longer step"
            )
        return series

    def _selected(self, selector: Selector) -> list[Line]:
        times_s = self._grid.times_s - selector.offset_s
        return [Line(one.labels, _newest(one, times_s)) for one in self._of(selector)]

    def _over_time(self, expression: OverTime, one: Curve) -> Line:
        selector, known = expression.selector, ~np.isnan(one.values)
        stamps_s, values = one.stamps_s[known], one.values[known]
        times_s = self._grid.times_s - selector.offset_s
        low = np.searchsorted(stamps_s, times_s - (selector.range_s or 0.0), "right")
        high = np.searchsorted(stamps_s, times_s, "right")
        self._looked_at += int((high - low).sum())
        if self._looked_at > MOST_LOOKED_AT:
            raise QueryTooLarge(f"the ranges of this query hold more than {MOST_LOOKED_AT} samples")
        return Line(_unnamed(one.labels), reduced(expression.function, values, low, high))

    def _together(self, expression: Aggregate) -> list[Line]:
        groups: dict[frozenset[tuple[str, str]], list[FloatArray]] = {}
        for line in self.lines(expression.expression):
            kept = {
                name: value
                for name, value in line.labels.items()
                if name != "__name__" and (name in expression.labels) is not expression.without
            }
            groups.setdefault(frozenset(kept.items()), []).append(line.values)
        return [Line(dict(sorted(key)), _aggregated(expression.function, rows)) for key, rows in groups.items()]

    def _calculated(self, expression: Binary) -> list[Line]:
        operator, left, right = expression.operator, scalar(expression.left), scalar(expression.right)
        if operator in COMPARISONS:
            lines, bound = self.lines(expression.left), right if right is not None else np.nan
            return [replace(line, values=_kept(operator, line.values, bound)) for line in lines]
        if right is not None:
            mine = [Line(one.labels, _arithmetic(operator, one.values, right)) for one in self.lines(expression.left)]
        elif left is not None:
            mine = [Line(one.labels, _arithmetic(operator, left, one.values)) for one in self.lines(expression.right)]
        else:
            mine = _joined(operator, self.lines(expression.left), self.lines(expression.right))
        return _told_apart([Line(_unnamed(one.labels), one.values) for one in mine])


def _newest(one: Curve, times_s: FloatArray) -> FloatArray:
    """Newest sample of the look-back at each time, (T,)."""
    if not len(one.stamps_s):
        return np.full(len(times_s), np.nan)
    at = np.searchsorted(one.stamps_s, times_s, "right") - 1
    at_least = np.maximum(at, 0)
    inside = (at >= 0) & (one.stamps_s[at_least] > times_s - LOOKBACK_S)
    return np.where(inside, one.values[at_least], np.nan)


def reduced(function: str, values: FloatArray, low: IntArray, high: IntArray) -> FloatArray:
    """A function of values[low:high] for each pair, NaN where that is empty."""
    some: BoolArray = high > low
    if not some.any():
        return np.full(len(low), np.nan)
    if function == "avg_over_time":
        sums = np.concatenate([[0.0], np.cumsum(values)])
        return np.where(some, (sums[high] - sums[low]) / np.maximum(high - low, 1), np.nan)
    reduce = np.maximum if function == "max_over_time" else np.minimum
    # reduceat takes pairs of bounds; a bound at the very end needs one value more, which no pair includes.
    pairs = np.stack([low[some], high[some]], axis=1).ravel()
    found = np.full(len(low), np.nan)
    found[some] = reduce.reduceat(np.append(values, 0.0), pairs)[::2]
    return found


def _aggregated(function: str, rows: list[FloatArray]) -> FloatArray:
    stacked = np.stack(rows)
    known = ~np.isnan(stacked)
    count = known.sum(axis=0)
    if function == "max":
        values = np.fmax.reduce(stacked)
    elif function == "min":
        values = np.fmin.reduce(stacked)
    elif function == "count":
        values = count.astype(np.float64)
    else:
        values = np.where(known, stacked, 0.0).sum(axis=0)
        values = values / np.maximum(count, 1) if function == "avg" else values
    return np.where(count > 0, values, np.nan)


def _kept(operator: str, values: FloatArray, bound: float) -> FloatArray:
    """Values that fulfil a comparison; the others are gone."""
    compare = {
        "==": np.equal, "!=": np.not_equal, "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal
    }[operator]  # fmt: skip
    return np.where(compare(values, bound), values, np.nan)


def _arithmetic(operator: str, left: FloatArray | float, right: FloatArray | float) -> FloatArray:
    calculate = {
        "+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide, "%": np.fmod, "^": np.float_power
    }[operator]  # fmt: skip
    with np.errstate(all="ignore"):
        return np.asarray(calculate(left, right), np.float64)


def _joined(operator: str, left: list[Line], right: list[Line]) -> list[Line]:
    """Series of both sides with the same labels, one to one."""
    _told_apart([Line(_unnamed(line.labels), line.values) for line in left])
    others: dict[frozenset[tuple[str, str]], Line] = {}
    for line in right:
        key = frozenset(_unnamed(line.labels).items())
        if key in others:
            raise QuerySyntaxError("series of the right side cannot be told apart: sum them by (…) first")
        others[key] = line
    pairs = ((one, others.get(frozenset(_unnamed(one.labels).items()))) for one in left)
    return [Line(a.labels, _arithmetic(operator, a.values, b.values)) for a, b in pairs if b is not None]


def _told_apart(lines: list[Line]) -> list[Line]:
    if len({frozenset(line.labels.items()) for line in lines}) < len(lines):
        raise QuerySyntaxError("vector cannot contain metrics with the same labelset")
    return lines


def _unnamed(labels: Labels) -> dict[str, str]:
    return {name: value for name, value in labels.items() if name != "__name__"}
