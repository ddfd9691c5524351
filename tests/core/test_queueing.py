"""Arrivals of a queue, inferred from its depth: each number worked out by hand."""

import numpy as np
import pytest

from scaler.core.queueing import arrivals_from_depth
from tests.fakes import loads

UNKNOWN = np.nan


@pytest.mark.parametrize(
    ("depth", "before", "last", "clearing", "arrived"),
    [
        (160, 100, 5, 3, 7.0),  # 60 more in 15 s, and 3/s cleared
        (100, 100, 5, 3, 3.0),  # steady: as many came as were cleared
        (40, 100, 0, 9, 5.0),  # 60 fewer in 15 s although 9/s were cleared
        (10, 100, 0, 3, 0.0),  # fell faster than it was cleared (messages expired): none came
        (0, 0, 4, 9, 4.0),  # stays empty: what came before still comes, all of it cleared
        (0, 30, 1, 100, 1.0),  # ran empty: cleared were at most the 2/s there were and the 1/s that came
        (0, 30, UNKNOWN, 100, 0.0),
        (0, 30, 10, 4, 2.0),  # ran empty at a clearing rate of 4/s
        (UNKNOWN, 100, 5, 3, UNKNOWN),
        (100, UNKNOWN, 5, 3, UNKNOWN),
        (100, 100, 5, UNKNOWN, UNKNOWN),
    ],
)
def test_what_came_is_what_stayed_and_what_was_cleared(depth, before, last, clearing, arrived):
    inferred = arrivals_from_depth(loads(depth), loads(before), loads(last), loads(clearing), 15.0)
    assert inferred[0] == pytest.approx(arrived, nan_ok=True)
