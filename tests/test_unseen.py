"""Forecasts that judge anything come from networks that saw nothing of the history's source."""

import json
from collections.abc import Iterator

import pytest

from benchmarks import unseen
from forecasting import neural


@pytest.fixture(autouse=True)
def shipped_again() -> Iterator[None]:
    """What a test lets speak does not speak after it."""
    yield
    neural.ARRAYS = unseen.SHIPPED
    neural.shipped.cache_clear()


@pytest.mark.parametrize("name", ["crane_in01", "mscm_machine01", "nasa_http", "kwai_service7"])
def test_a_history_is_forecast_by_the_network_that_left_its_source_out(name: str) -> None:
    unseen.unseen(name)
    loads = json.loads((neural.ARRAYS.parent / "card.json").read_text())["loads"]
    assert neural.ARRAYS != unseen.SHIPPED
    assert loads
    assert not [load for load in loads if load.partition("_")[0] == name.partition("_")[0]]
    assert neural.shipped().version != ""


def test_a_history_of_another_source_is_forecast_by_the_network_that_is_shipped() -> None:
    unseen.unseen("crane_in01")
    unseen.unseen("azfunc2021_101")
    assert neural.ARRAYS == unseen.SHIPPED


def test_a_network_that_saw_the_source_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(unseen.SOURCES, "crane", ("mscm_",))
    monkeypatch.delitem(unseen.SOURCES, "mscm")
    with pytest.raises(SystemExit, match="trained on mscm_ingress02"):
        unseen.unseen("mscm_machine01")
