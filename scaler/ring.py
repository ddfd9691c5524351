"""The load history of a fleet, as mutable rings in the shell; the core sees views.

One time axis for all rows: advancing appends a column of missing samples, a sample fills its place. Buffers have slack
on the right, so that every view is contiguous and moving back is rare.
"""

from typing import Any

import numpy as np

from forecasting.forecast import FloatArray, IntArray
from forecasting.series import DAY_S, History, LoadArray, bucket_spacing, coarse_spacing, summed_up
from scaler.core.signals import Samples

FINE_S = 3 * 3600.0
"""Span kept at the step."""
BUCKETS_S = 8 * DAY_S
"""Span kept in buckets: a week and a day, so that the same window a week ago is there."""
COARSE_S = 28 * DAY_S
"""Span kept in coarse blocks: four of each weekday."""


class _Columns:
    """(rows, width) values that slide to the left as columns are appended."""

    def __init__(self, n_rows: int, width: int, dtype: type[np.floating[Any]]) -> None:
        self.width = width
        self._slack = max(width // 8, 16)
        self._buffer: LoadArray = np.full((n_rows, width + self._slack), np.nan, dtype)
        self._end = width

    def append(self, n: int) -> None:
        """Append n missing columns."""
        if n >= self.width:
            self._buffer[:] = np.nan
            return
        if self._end + n > self._buffer.shape[1]:
            kept = self._buffer[:, self._end - self.width + n : self._end].copy()
            self._buffer[:, : self.width - n] = kept
            self._buffer[:, self.width - n :] = np.nan
            self._end = self.width
            return
        self._end += n

    @property
    def view(self) -> LoadArray:
        """All rows, oldest column first, (rows, width)."""
        return self._buffer[:, self._end - self.width : self._end]

    def grow(self, n_rows: int) -> None:
        """Add rows of missing values up to `n_rows`."""
        added = np.full((n_rows - len(self._buffer), self._buffer.shape[1]), np.nan, self._buffer.dtype)
        self._buffer = np.concatenate([self._buffer, added])


class LoadRing:
    """Load of the workloads of one step length, ending at `end_s`."""

    def __init__(self, n_rows: int, step_s: float, end_s: float) -> None:
        self.step_s, self.end_s = step_s, end_s
        self.bucket_s = bucket_spacing(step_s)
        self.bucket_end_s = end_s // self.bucket_s * self.bucket_s
        n_recent = 2 * 90 * round(self.bucket_s / step_s)
        self._fine = _Columns(n_rows, max(round(FINE_S / step_s), n_recent), np.float64)
        n_buckets = max(round(BUCKETS_S / self.bucket_s), 200)
        self._mean = _Columns(n_rows, n_buckets, np.float32)
        self._maximum = _Columns(n_rows, n_buckets, np.float32)
        self.coarse_s = coarse_spacing(step_s)
        self.coarse_end_s = end_s // self.coarse_s * self.coarse_s
        n_blocks = max(round(COARSE_S / self.coarse_s), 200)
        self._coarse_mean = _Columns(n_rows, n_blocks, np.float32)
        self._coarse_maximum = _Columns(n_rows, n_blocks, np.float32)
        self._all = (self._fine, self._mean, self._maximum, self._coarse_mean, self._coarse_maximum)
        self._first_s: FloatArray = np.full(n_rows, np.inf)
        self._loaded_s: FloatArray = np.full(n_rows, -np.inf)

    def grow(self, n_rows: int) -> None:
        """Add empty rows up to `n_rows`."""
        for columns in self._all:
            columns.grow(n_rows)
        n_new = n_rows - len(self._first_s)
        self._first_s = np.concatenate([self._first_s, np.full(n_new, np.inf)])
        self._loaded_s = np.concatenate([self._loaded_s, np.full(n_new, -np.inf)])

    def clear(self, row: int) -> None:
        """Forget one row."""
        for columns in self._all:
            columns.view[row] = np.nan
        self._first_s[row], self._loaded_s[row] = np.inf, -np.inf

    def advance(self, end_s: float) -> None:
        """Move the time axis on to `end_s`, a multiple of the step; buckets that became complete are summed up."""
        self._fine.append(round((end_s - self.end_s) / self.step_s))
        self.end_s = end_s
        new = round((end_s // self.bucket_s * self.bucket_s - self.bucket_end_s) / self.bucket_s)
        if new <= 0:
            return
        under_way_s = self.bucket_end_s + self.bucket_s
        self._mean.append(new)
        self._maximum.append(new)
        self.bucket_end_s += new * self.bucket_s
        # `put` sums up a bucket that ends at its tick; one whose end was passed over is summed up here.
        k, after = round(self.bucket_s / self.step_s), round((end_s - under_way_s) / self.step_s)
        if after > 0 and new <= self._mean.width and after + k <= self._fine.width:
            stop = self._fine.width - after
            self._sum_up(slice(None), self._fine.view[:, stop - k : stop].astype(np.float64), new)
        self._advance_coarse()

    def _advance_coarse(self) -> None:
        new = round((self.bucket_end_s // self.coarse_s * self.coarse_s - self.coarse_end_s) / self.coarse_s)
        if new > 0:
            self._coarse_mean.append(new)
            self._coarse_maximum.append(new)
            self.coarse_end_s += new * self.coarse_s
            self._sum_up_blocks(slice(None), new)

    def _sum_up_blocks(self, rows: IntArray | slice, n: int) -> None:
        """Write the newest n coarse blocks of `rows` anew from the buckets, as many as these reach back to."""
        k = round(self.coarse_s / self.bucket_s)
        stop = self._mean.width - round((self.bucket_end_s - self.coarse_end_s) / self.bucket_s)
        n = min(n, stop // k, self._coarse_mean.width)
        if n > 0:
            part = slice(stop - n * k, stop)
            mean, maximum = summed_up(self._mean.view[rows, part], self._maximum.view[rows, part], k)
            self._coarse_mean.view[rows, -n:], self._coarse_maximum.view[rows, -n:] = mean, maximum

    def put(self, rows: IntArray | slice, values: FloatArray) -> None:
        """Store the newest sample of `rows`; NaN leaves it as it is. A bucket that ends here is summed up."""
        self._fine.view[rows, -1] = np.where(np.isnan(values), self._fine.view[rows, -1], values)
        loaded, idle = values > 0, self.end_s - self._loaded_s[rows] > BUCKETS_S
        self._first_s[rows] = np.where(loaded & idle, self.end_s - self.step_s, self._first_s[rows])
        self._loaded_s[rows] = np.where(loaded, self.end_s, self._loaded_s[rows])
        if self.end_s == self.bucket_end_s:
            k = round(self.bucket_s / self.step_s)
            self._sum_up(rows, self._fine.view[rows, -k:].astype(np.float64), 1)
        if self.end_s == self.coarse_end_s:
            self._sum_up_blocks(rows, 1)

    def backfill(
        self,
        row: int,
        stamps_s: FloatArray,
        values: FloatArray,
        spacing_s: float,
        largest: FloatArray | None = None,
    ) -> None:
        """Store older samples of one row, each holding for the `spacing_s` before its stamp; NaN is skipped.

        Samples wider than a bucket fill several buckets; stamps after `end_s` or before the rings are ignored.
        `largest` is the largest load inside each sample's interval, where more is known than the sample itself.
        """
        known = ~np.isnan(values) & (stamps_s <= self.end_s)
        if not known.any():
            return
        self._note_loads(row, stamps_s[known & (values > 0)], spacing_s)
        self._backfill_fine(row, stamps_s[known], values[known], spacing_s)
        part = Samples(values[known], (values if largest is None else largest)[known])
        buckets = (self._mean, self._maximum, self.bucket_end_s, self.bucket_s)
        self._backfill_grid(row, stamps_s[known], part, spacing_s, buckets)
        blocks = (self._coarse_mean, self._coarse_maximum, self.coarse_end_s, self.coarse_s)
        self._backfill_grid(row, stamps_s[known], part, spacing_s, blocks)
        # Where the buckets reach, they know more of a block than the samples given.
        self._sum_up_blocks(slice(row, row + 1), self._coarse_mean.width)

    def _note_loads(self, row: int, stamps_s: FloatArray, spacing_s: float) -> None:
        """Samples with load came at rising `stamps_s`: after a pause as long as the buckets life begins anew."""
        if len(stamps_s):
            pauses = np.flatnonzero(np.diff(stamps_s) > BUCKETS_S)
            begun_s = stamps_s[pauses[-1] + 1 if len(pauses) else 0] - spacing_s
            self._first_s[row] = min(self._first_s[row], begun_s)
            self._loaded_s[row] = max(self._loaded_s[row], stamps_s[-1])

    def backfill_blocks(self, row: int, stamps_s: FloatArray, part: Samples) -> None:
        """Store older coarse blocks of one row by the stamps of their ends; NaN is skipped, and buckets know better."""
        known = ~np.isnan(part.mean)
        kept = Samples(part.mean[known], part.maximum[known])
        blocks = (self._coarse_mean, self._coarse_maximum, self.coarse_end_s, self.coarse_s)
        self._backfill_grid(row, stamps_s[known], kept, self.coarse_s, blocks)
        self._sum_up_blocks(slice(row, row + 1), self._coarse_mean.width)

    def _backfill_fine(self, row: int, stamps_s: FloatArray, values: FloatArray, spacing_s: float) -> None:
        view = self._fine.view[row]
        # From the longest held to the stamps themselves, so that no sample is covered by a later one's hold.
        for held in reversed(range(max(round(spacing_s / self.step_s), 1))):
            back = np.rint((self.end_s - stamps_s) / self.step_s).astype(np.int64) + held
            inside = (back >= 0) & (back < len(view))
            view[len(view) - 1 - back[inside]] = values[inside]

    def _backfill_grid(
        self,
        row: int,
        stamps_s: FloatArray,
        part: Samples,
        spacing_s: float,
        grid: tuple[_Columns, _Columns, float, float],
    ) -> None:
        means, maxima, end_s, grid_s = grid
        mean, maximum = means.view[row], maxima.view[row]
        total, count = np.zeros(len(mean)), np.zeros(len(mean))
        largest = np.full(len(mean), -np.inf)
        for held in range(max(round(spacing_s / grid_s), 1)):
            back = np.floor((end_s - stamps_s) / grid_s + 1e-9).astype(np.int64) + held
            inside = (back >= 0) & (back < len(mean))
            column = len(mean) - 1 - back[inside]
            np.add.at(total, column, part.mean[inside])
            np.add.at(count, column, 1.0)
            np.maximum.at(largest, column, part.maximum[inside])
        filled = count > 0
        mean[filled], maximum[filled] = total[filled] / count[filled], largest[filled]

    def _sum_up(self, rows: IntArray | slice, samples: FloatArray, back: int) -> None:
        present = ~np.isnan(samples)
        count = present.sum(axis=1)
        total = np.where(present, samples, 0.0).sum(axis=1)
        self._mean.view[rows, -back] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
        self._maximum.view[rows, -back] = np.fmax.reduce(samples, axis=1)

    def history(self, rows: slice) -> History:
        """Views on some rows."""
        return History(
            step_s=self.step_s,
            end_s=self.end_s,
            fine=self._fine.view[rows],
            bucket_end_s=self.bucket_end_s,
            mean=self._mean.view[rows],
            maximum=self._maximum.view[rows],
            coarse_end_s=self.coarse_end_s,
            coarse_mean=self._coarse_mean.view[rows],
            coarse_maximum=self._coarse_maximum.view[rows],
        )

    def span_s(self, rows: slice) -> FloatArray:
        """From the oldest load kept of each row to now, in seconds, (rows,); 0 where there never was any.

        Zeros before a workload's first load, or for longer than buckets are kept, say nothing about its life.
        """
        oldest = np.maximum(self._first_s[rows], self.end_s - BUCKETS_S)
        return np.maximum(self.end_s - oldest, 0.0)
