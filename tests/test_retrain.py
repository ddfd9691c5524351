"""A batch run: histories in, judged models in the registry; the same models wherever the fits run."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forecasting import catalog
from scaler.archive import Archive
from scaler.config import File
from scaler.engine import Engine
from scaler.lessons import Trigger, Worker
from scaler.model_folder import ModelFolder
from scaler.registry import Stage, champion
from scaler.retrain import Progress, run
from scaler.settings import Settings
from scaler.sources import NoCluster
from tests.service import Clock, FakeSource, daily, declared, tick

TWO = """
workloads:
  - {name: a, namespace: shop, threshold: 50, capacity: 70, leadTime: 60s}
  - {name: b, namespace: shop, threshold: 50, capacity: 70, leadTime: 60s}
"""


class Here:
    """A worker that fits in this process."""

    async def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)

    def close(self) -> None:
        """Nothing is held."""


def some_file(tmp_path: Path) -> File:
    from scaler.config import read  # noqa: PLC0415

    path = tmp_path / "foresail.yaml"
    path.write_text(TWO)
    return read(path)


async def ran(tmp_path: Path, var: str, worker: Callable[[], Worker] = Here) -> Progress:
    last = None
    settings = Settings.model_validate({"var": tmp_path / var})
    async for progress in run(settings, some_file(tmp_path), FakeSource(daily), worker, Clock()):
        last = progress
    assert last is not None
    return last


async def test_all_workloads_of_a_file_are_fitted_judged_and_kept(tmp_path: Path) -> None:
    last = await ran(tmp_path, "var")
    assert last == Progress(2, 0, 2, 0, 2, 0, 0, 0)
    registry = ModelFolder(tmp_path / "var" / "models")
    names = registry.names()
    assert [name.partition("~")[0] for name in names] == ["shop/a", "shop/b"]
    for name in names:
        (version,) = registry.versions(name)
        assert version.stage is Stage.CHAMPION
        assert version.origin.scores["windows"] > 30
        assert registry.load(version)["models.speaker"][0] == catalog.BOOSTING
    # Once more: nothing is due, nothing changes.
    again = await ran(tmp_path, "var")
    assert (again.fitted, again.promoted) == (0, 0)


async def test_a_defect_in_a_fit_ends_the_run_instead_of_waiting_for_ever(tmp_path: Path) -> None:
    class Defective(Here):
        async def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
            raise AssertionError(function.__name__, len(arguments))

    with pytest.raises(AssertionError, match="retrain"):
        await ran(tmp_path, "var", Defective)


async def test_a_service_that_fits_nothing_takes_new_champions_from_the_registry(tmp_path: Path) -> None:
    await ran(tmp_path, "var")
    registry = ModelFolder(tmp_path / "var" / "models")
    settings = Settings.model_validate({"fit_workers": 0})
    # It was started before the first batch run: it knows nothing of the registry's champion.
    engine = Engine(settings, FakeSource(daily), NoCluster(), clock := Clock(), archive=Archive(None))
    key = engine.declare(declared("a"))
    await engine.introduce(key)
    await tick(engine, clock)
    engine.archive.registry = registry
    reading = [asyncio.create_task(part.run()) for part in (engine.succession, engine.archive)]
    engine.succession.offered(await engine.archive.champions([key]))
    fleet, row = engine.row_of(key)
    async with asyncio.timeout(20):
        while not fleet.models.validated[row]:
            await asyncio.sleep(0.01)
    serving = champion(registry.versions(registry.names()[0]))
    assert serving is not None
    assert fleet.models.cutoff_s[row] == serving.origin.cutoff_s
    for task in reading:
        task.cancel()
    await asyncio.gather(*reading, return_exceptions=True)


async def test_a_restart_replays_what_was_kept_and_comes_to_the_same_state(tmp_path: Path) -> None:
    var = tmp_path / "var" / "models"
    states = []
    for _ in range(2):
        calls: list[str] = []

        class Told(Here):
            async def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
                calls.append(function.__name__)  # noqa: B023 - called within this turn
                return function(*arguments)

        engine = Engine(Settings(), FakeSource(daily), NoCluster(), Clock(), archive=Archive(ModelFolder(var)))
        engine.lessons.worker = Told
        key = engine.declare(declared("web"))
        tasks = [asyncio.create_task(part) for part in (engine.archive.run(), engine.lessons.teach())]
        await engine.introduce(key)
        fleet, row = engine.row_of(key)
        while not fleet.models.validated[row]:
            await asyncio.sleep(0.01)
        await engine.archive.drained()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        states.append((calls, fleet.voice(row)[0].boosting.leaf, fleet._rows.state.price.log_price[row]))
    assert [calls for calls, *_ in states] == [["retrain"], ["replay"]]
    np.testing.assert_array_equal(states[0][1], states[1][1])
    assert states[0][2] == states[1][2]


async def test_drifted_workloads_are_fitted_first() -> None:
    seen: list[tuple[str, int]] = []

    class Watching(Here):
        async def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
            seen.append((function.__name__, len(arguments[2])))
            return await asyncio.Event().wait()

    engine = Engine(Settings(), FakeSource(daily), NoCluster(), Clock())
    engine.lessons.worker = Watching
    keys = [engine.declare(declared(f"w{n}")) for n in range(12)]
    for key in keys:
        await engine.introduce(key)
    assert engine.lessons.queue()[Trigger.START] == 12
    # The last one has a model, and has drifted since.
    fleet, row = engine.row_of(keys[-1])
    fleet.models.cutoff_s[row] = int(engine.clock()) - 2 * 86_400
    fleet._rows.state.trust.alarmed_s[row] = engine.clock() - 5 * 3600.0
    engine.lessons.ask(keys[-1])
    assert engine.lessons.queue()[Trigger.DRIFT] == 1
    teaching = asyncio.create_task(engine.lessons.teach())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert keys[-1] in engine.lessons.fitting
    assert seen == [("retrain", 8)]
    teaching.cancel()
    await asyncio.gather(teaching, return_exceptions=True)


@pytest.mark.process
@pytest.mark.timeout(300)  # Ray starts a cluster of processes first
async def test_ray_gives_the_same_models(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="ray is not installed: foresail[ray]")
    from scaler.ray_worker import joined  # noqa: PLC0415

    with joined(None, 2) as worker:
        await ran(tmp_path, "ray", lambda: worker(120.0, 512))
    await ran(tmp_path, "here")
    digests = [
        [one.digest for name in folder.names() for one in folder.versions(name)]
        for folder in (ModelFolder(tmp_path / var / "models") for var in ("ray", "here"))
    ]
    assert len(digests[0]) == 2
    assert digests[0] == digests[1]
