"""Who speaks for a workload."""

from dataclasses import replace

import numpy as np
import pytest

from forecasting import boosting, catalog, naive, neural
from forecasting.catalog import BOOSTING, NAIVE, NEURAL, NOBODY
from forecasting.errors import NotEnoughHistory
from forecasting.series import Rows
from scaler.core.learning import stacked
from tests.fakes import DAY_S, WEDNESDAY_S, history_of, history_rows, seasonal_load


def test_the_booster_speaks_where_it_could_be_fitted():
    models = catalog.fit(history_of(seasonal_load(), DAY_S), 8, averaged=False)
    assert models.speaker.tolist() == [BOOSTING]
    assert models.cutoff_s.tolist() == [WEDNESDAY_S]
    assert models.validated.tolist() == [True]


def test_the_network_speaks_for_a_short_history():
    models = catalog.fit(history_of(seasonal_load(), 2 * 3600.0), 8, averaged=False)
    assert models.speaker.tolist() == [NEURAL]
    assert models.validated.tolist() == [True]


def test_the_network_speaks_where_the_booster_has_too_few_origins():
    models = catalog.fit(history_of(seasonal_load(), 8 * 3600.0), 8, averaged=False)
    assert models.speaker.tolist() == [NEURAL]
    assert models.validated.tolist() == [True]


def test_nobody_speaks_for_no_history():
    history = history_of(seasonal_load(), 600.0)
    with pytest.raises(NotEnoughHistory):
        catalog.fit(history, 8, averaged=False)
    said = catalog.predict(catalog.unfitted(1), history, Rows.live(history, np.array([8])))
    assert np.isnan(said.peak).all()
    assert np.isnan(said.path).all()


def test_each_workload_is_answered_by_its_own_speaker():
    loads = [seasonal_load(1), seasonal_load(2), seasonal_load(3), seasonal_load(4)]
    history = history_rows(loads, DAY_S)
    alone = [history_of(load, DAY_S) for load in loads]
    fitted = catalog.fit(alone[0], 8, averaged=False)
    short = catalog.fit_naive(alone[1], 8, averaged=False)
    young = replace(fitted, speaker=np.array([NEURAL]))
    models = stacked([fitted, short, catalog.unfitted(1), young])
    assert models.speaker.tolist() == [BOOSTING, NAIVE, NOBODY, NEURAL]
    said = catalog.predict(models, history, Rows.live(history, np.full(4, 8)))
    one = Rows.live(alone[0], np.array([8]))
    assert said.peak[0].tobytes() == boosting.predict(fitted.boosting, alone[0], one).peak[0].tobytes()
    assert said.peak[1].tobytes() == naive.predict(short.naive, alone[1], one).peak[0].tobytes()
    assert np.isnan(said.peak[2]).all()
    assert said.peak[3].tobytes() == neural.predict(fitted.neural, alone[3], one).peak[0].tobytes()
