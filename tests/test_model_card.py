"""The model card speaks of the network that is shipped."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import model_eval
from forecasting import neural
from forecasting.corpus import CorpusConfig, drawn_of
from forecasting.generators import SHAPES

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "model-card.md").read_text()


def card() -> dict[str, object]:
    found: dict[str, object] = json.loads(model_eval.CARD.read_text())
    return found


def test_the_card_and_its_record_are_of_the_shipped_network():
    network = neural.shipped()
    assert card()["network_hash"] == neural.digest(network.weights, network.biases)
    assert f"`{network.version}`" in TEXT
    assert f"`{card()['config_hash']}`" in TEXT
    assert neural.ARRAYS.stat().st_size < 2_000_000


def test_the_card_names_every_load_with_its_licence():
    loads = card()["loads"]
    assert isinstance(loads, dict)
    for name in loads:
        row = next(line for line in TEXT.splitlines() if line.startswith("|") and name in line)
        assert row.split("|")[-2].strip() in {"Apache-2.0", "MIT"}, name


@pytest.mark.parametrize("number", [1, 9])
def test_a_score_of_the_card_is_reproduced_by_the_shipped_arrays(number):
    """The others by `make model-eval`."""
    rng = np.random.default_rng([model_eval.SEED, number])
    rows = drawn_of(SHAPES[number], model_eval.HISTORIES, rng, CorpusConfig())
    assert model_eval.line(SHAPES[number].__name__, rows) in TEXT.splitlines()
