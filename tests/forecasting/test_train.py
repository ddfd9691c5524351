"""Training the network, on a small generated set."""

from dataclasses import replace

import numpy as np
import pytest

from forecasting import neural
from forecasting.corpus import CorpusConfig, drawn
from forecasting.forecast import LEVELS

pytest.importorskip("torch", reason="training needs torch (extra `train`)")

from forecasting import train
from forecasting.train import TrainConfig

SMALL = TrainConfig(rounds=6, histories=10, width=24, batch=64, judged=8, corpus=CorpusConfig(rows=48))


def test_training_on_generated_load_lowers_the_loss_of_unseen_load():
    progress = list(train.train([], SMALL))
    assert [one.done for one in progress] == [1, 2, 3, 4, 5, 6]
    assert all(np.isfinite(one.loss) for one in progress)
    assert progress[-1].judged_loss < 0.8 * progress[0].judged_loss


def test_an_interrupted_training_goes_on_bit_for_bit():
    short = replace(SMALL, rounds=3, histories=4)
    whole = list(train.train([], short))
    resumed = list(train.train([], short, whole[0].state))
    assert [one.done for one in resumed] == [2, 3]
    for name in ("network", "running", "first", "second"):
        pairs = zip(getattr(resumed[-1].state, name), getattr(whole[-1].state, name), strict=True)
        assert all(a.tobytes() == b.tobytes() for a, b in pairs), name
    assert resumed[-1].judged_loss == whole[-1].judged_loss


def test_what_is_shipped_says_what_was_trained():
    """NumPy's forecasts have the loss that training reports of the same rows."""
    last = list(train.train([], replace(SMALL, rounds=2)))[-1]
    rows = drawn([], SMALL.judged, np.random.default_rng([SMALL.seed, 0]), SMALL.corpus)
    weights, biases = train.arrays(last.state)
    said = neural.said(neural.Network(weights, biases, ""), rows.inputs)
    error = rows.target[:, :, None] - said
    lost = np.maximum(LEVELS * error, (LEVELS - 1) * error) / np.sqrt(LEVELS * (1 - LEVELS))
    loss = ((lost.mean(axis=2) * np.array(train.HEAD_WEIGHTS)).sum(axis=1) * rows.weight).mean()
    assert loss == pytest.approx(last.judged_loss, rel=1e-3)


def test_a_setting_changes_the_hash_of_the_configuration():
    assert SMALL.digest == replace(SMALL).digest
    assert SMALL.digest != replace(SMALL, seed=1).digest
