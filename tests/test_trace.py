"""What a history must be like, and what is said where it is not."""

from pathlib import Path

import numpy as np
import pytest

from scaler.core.domain import Workload
from scaler.errors import HistoryError
from scaler.trace import Trace, first_days, judgeable, read_csv, scalable


def written(folder: Path, *lines: str) -> Path:
    path = folder / "shop.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def trace(values: np.ndarray, spacing_s: float = 60.0) -> Trace:
    return Trace("shop", 0.0, spacing_s, values)


def test_unix_seconds_and_rfc_3339_mean_the_same(tmp_path: Path) -> None:
    unix = read_csv(written(tmp_path, "timestamp,value", "1700000040,1", "1700000100,2", "1700000160,3"))
    named = read_csv(
        written(tmp_path, "2023-11-14T22:14:00Z,1", "2023-11-14T23:15:00+01:00,2", "2023-11-14T22:16:00Z,3")
    )
    assert unix.start_s == named.start_s == 1700000040.0
    assert unix.values.tolist() == named.values.tolist() == [1.0, 2.0, 3.0]
    assert unix.name == "shop"


def test_a_missing_row_and_an_empty_value_are_gaps(tmp_path: Path) -> None:
    found = read_csv(written(tmp_path, "0,1", "60,", "120,3", "240,5"))
    assert np.array_equal(found.values, [1.0, np.nan, 3.0, np.nan, 5.0], equal_nan=True)


def test_fine_samples_are_averaged_to_the_sync_period(tmp_path: Path) -> None:
    five = read_csv(written(tmp_path, *(f"{5 * n},{n}" for n in range(9))))
    assert (five.spacing_s, five.values.tolist()) == (15.0, [1.0, 4.0, 7.0])
    twenty = read_csv(written(tmp_path, *(f"{20 * n},{n}" for n in range(9))))
    assert (twenty.spacing_s, twenty.values.tolist()) == (60.0, [1.0, 4.0, 7.0])


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["0,1", "60,2", "60,3", "120,4"], "line 3 has the same stamp as the line before it"),
        (["0,1", "60,2", "30,3", "120,4"], "line 3 has a stamp before that of the line before it"),
        (["0,1", "60,2", "120,3", "167,4", "227,4"], "line 4: irregular stamps: 47 s after the line before it"),
        (["0,1", "60,-2", "120,3"], "line 2: a load must not be negative, not -2"),
        (["0,1", "60,inf", "120,3"], "line 2: a load must be finite"),
        (["0,1", "60,many", "120,3"], "line 2: 'many' is no number"),
        (["yesterday,1"], "line 1: 'yesterday' is neither Unix seconds nor an RFC 3339 time"),
        (["2023-11-14T22:13:00,1"], "has no time zone"),
        (["nan,1"], "line 1: nan is no Unix time in seconds"),
        (["1700000000000,1", "1700000060000,2"], "is it in milliseconds?"),
        (["0,1", "60,2", "120,3", "253402300740,4"], "100 % of the samples are missing"),
        (["0," + "1" * 200_000], "cannot be read: field larger than field limit"),
        (["0"], "two columns are needed"),
        (["0,1"], "at least 2 days are needed"),
        (["0,1", "7200,1", "14400,1"], "samples are 7200 s apart"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_line(tmp_path: Path, lines: list[str], words: str) -> None:
    with pytest.raises(HistoryError, match=r"shop\.csv") as refused:
        read_csv(written(tmp_path, *lines))
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.ones(1440), "1.0 days of history: at least 2 days are needed"),
        (np.zeros(3 * 1440), "the load is zero throughout"),
        (np.full(3 * 1440, 7.0), "the load is 7 throughout"),
        (np.where(np.arange(3 * 1440) < 2300, 1.0 + np.arange(3 * 1440) % 7, 0.0), "no load in its last 40 %"),
        (np.where(np.arange(3 * 1440) < 2000, np.nan, 1.0 + np.arange(3 * 1440) % 7), "no load in its first 45 %"),
        (np.where(np.arange(3 * 1440) % 3 == 0, 1.0, np.nan), "67 % of the samples are missing"),
    ],
)
def test_a_history_that_says_nothing_is_refused(values: np.ndarray, words: str) -> None:
    with pytest.raises(HistoryError) as refused:
        judgeable(trace(values))
    assert words in str(refused.value)


def test_a_capacity_must_leave_something_to_decide() -> None:
    load = trace(100.0 + np.arange(3000) % 50)
    with pytest.raises(HistoryError, match="one replica of capacity 200"):
        scalable(load, Workload("", "w", "0", threshold=100.0, capacity=200.0))
    with pytest.raises(HistoryError, match="every step is saturated"):
        scalable(load, Workload("", "w", "0", threshold=1.0, capacity=2.0, max_replicas=10))
    with pytest.raises(HistoryError, match=r"more than 100,000: is the capacity in the unit of the load\?"):
        scalable(load, Workload("", "w", "0", threshold=1.0, capacity=0.001))
    quiet_once = trace(np.where(np.arange(3000) < 60, 0.0, load.values))
    with pytest.raises(HistoryError, match="every step is saturated"):
        scalable(quiet_once, Workload("", "w", "0", threshold=1.0, capacity=2.0, max_replicas=10))
    scalable(load, Workload("", "w", "0", threshold=5.0, capacity=8.0))


def test_the_first_days_can_be_taken() -> None:
    assert len(first_days(trace(np.ones(5000)), 2.0).values) == 2880
