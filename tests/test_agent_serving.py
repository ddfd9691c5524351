"""The service asks the agent that its settings name, and refuses a folder without one."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from scaler.engine import Engine
from scaler.errors import AgentFolderError
from scaler.service import _engine
from scaler.settings import Settings
from scaler.sources import NoCluster
from tests.service import FakeSource, declared


@pytest.fixture
def engine_with(tmp_path: Path) -> Callable[..., Engine]:
    def made(**given: object) -> Engine:
        source = FakeSource(lambda t_s: np.full(len(t_s), 500.0))
        settings = Settings(var=tmp_path, **given)  # type: ignore[arg-type]
        return _engine(settings, source, NoCluster(), None)  # type: ignore[arg-type]

    return made


@pytest.mark.parametrize("acts", [False, True])
def test_every_fleet_asks_the_shipped_agent(acts: bool, engine_with: Callable[..., Engine]) -> None:
    engine = engine_with(agent=Path("shipped"), agent_acts=acts)
    fleet, _ = engine.row_of(engine.declare(declared("web")))
    assert fleet.in_force is not None
    assert fleet.in_force.acts is acts
    assert fleet.in_force.licence.passed.any()


def test_without_a_folder_nobody_is_asked(engine_with: Callable[..., Engine]) -> None:
    engine = engine_with()
    fleet, _ = engine.row_of(engine.declare(declared("web")))
    assert fleet.in_force is None


def test_a_folder_without_an_agent_ends_the_start(tmp_path: Path, engine_with: Callable[..., Engine]) -> None:
    with pytest.raises(AgentFolderError, match="no agent"):
        engine_with(agent=tmp_path)
