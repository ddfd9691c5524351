"""The service asks the agent that its settings name, in shadow unless told otherwise; a folder without one is refused."""

from pathlib import Path

import numpy as np
import pytest

from scaler.engine import Engine
from scaler.errors import AgentFolderError
from scaler.journal import Journal
from scaler.service import _engine
from scaler.settings import Settings
from scaler.sources import NoCluster
from tests.service import FakeSource, declared


def engine_with(settings: Settings) -> Engine:
    source = FakeSource(lambda t_s: np.full(len(t_s), 500.0))
    return _engine(settings, source, NoCluster(), Journal())  # type: ignore[arg-type]


@pytest.mark.parametrize("acts", [False, True])
def test_every_fleet_asks_the_shipped_agent(acts: bool) -> None:
    engine = engine_with(Settings(agent=Path("shipped"), agent_acts=acts))
    fleet, _ = engine.row_of(engine.declare(declared("web")))
    assert fleet.in_force is not None
    assert fleet.in_force.acts is acts
    assert fleet.in_force.licence.passed.any()


def test_without_a_folder_nobody_is_asked() -> None:
    engine = engine_with(Settings())
    fleet, _ = engine.row_of(engine.declare(declared("web")))
    assert fleet.in_force is None


def test_a_folder_without_an_agent_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(AgentFolderError, match="no agent"):
        engine_with(Settings(agent=tmp_path))
