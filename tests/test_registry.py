"""Versions of models: kept whole, moved together, refused by name; one suite for every place they are kept in."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from forecasting import catalog
from scaler.core.trust import Evidence
from scaler.errors import StoreError
from scaler.model_folder import CARD, ModelFolder
from scaler.registry import (
    Change,
    Origin,
    Registry,
    Stage,
    champion,
    digest_of,
    flattened,
    predecessor,
    promote,
    restored,
    roll_back,
    serving,
)
from tests.core.test_decision import assert_same
from tests.fakes import WEDNESDAY_S

NAME = "shop/web~0badcafe"
ORIGIN = Origin("forecaster", WEDNESDAY_S - 86_400.0, WEDNESDAY_S, "c0ffee", "0.1.0", {"challenger": 0.25})
GIVEN = Change(WEDNESDAY_S, Stage.CHALLENGER, Evidence.VALIDATED, "better on 90 windows")
KILLS = 200 if os.environ.get("FORESAIL_EVIDENCE") == "1" else 2


def arrays(value: float) -> dict[str, np.ndarray]:
    return {"leaf": np.full((3, 2), value, np.float32), "boosting.start": np.arange(4)}


@pytest.fixture(scope="session")
def empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's SQLite file with nothing in it: its tables take it seconds to make."""
    pytest.importorskip("mlflow", reason="mlflow is not installed: foresail[mlflow]")
    from scaler.mlflow_registry import MlflowRegistry  # noqa: PLC0415

    path = tmp_path_factory.mktemp("mlflow") / "models.db"
    assert MlflowRegistry(f"sqlite:///{path}").names() == []
    return path


@pytest.fixture(params=["folder", "mlflow"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Registry]:
    """Opens the same registry, as often as it is called."""
    if request.param == "folder":
        return lambda: ModelFolder(tmp_path / "models")
    path = request.getfixturevalue("empty_mlflow")
    from scaler.mlflow_registry import MlflowRegistry  # noqa: PLC0415

    shutil.copy(path, tmp_path / "models.db")
    return lambda: MlflowRegistry(f"sqlite:///{tmp_path}/models.db")


def registered(registry: Registry, n: int, name: str = NAME) -> None:
    """n versions, each champion after the one before it."""
    for number in range(1, n + 1):
        origin = replace(ORIGIN, cutoff_s=WEDNESDAY_S + 3600.0 * number)
        version = registry.register(name, arrays(number), origin, GIVEN)
        promote(registry, name, version.number, replace(GIVEN, at_s=origin.cutoff_s + 60.0, evidence=Evidence.ACTIVE))


def test_what_was_registered_is_read_by_whoever_opens_it(opened: Callable[[], Registry]) -> None:
    version = opened().register(NAME, arrays(1.5), ORIGIN, GIVEN)
    registry = opened()
    assert registry.names() == [NAME]
    assert registry.versions(NAME) == (version,)
    assert (version.number, version.origin, version.changes) == (1, ORIGIN, (GIVEN,))
    found = registry.load(version)
    assert digest_of(found) == version.digest
    np.testing.assert_array_equal(found["leaf"], arrays(1.5)["leaf"])
    assert registry.versions("shop/other") == ()


def test_a_version_that_is_there_is_not_kept_twice(opened: Callable[[], Registry]) -> None:
    registry = opened()
    first = registry.register(NAME, arrays(1.0), ORIGIN, GIVEN)
    assert registry.register(NAME, arrays(1.0), ORIGIN, GIVEN) == first
    assert registry.register(NAME, arrays(2.0), ORIGIN, GIVEN).number == 2


def test_a_promotion_retires_the_champion_and_a_rollback_brings_it_back(opened: Callable[[], Registry]) -> None:
    registered(opened(), 3)
    registry = opened()
    versions = registry.versions(NAME)
    assert [one.stage for one in versions] == [Stage.RETIRED, Stage.RETIRED, Stage.CHAMPION]
    assert predecessor(versions) == versions[1]
    back = roll_back(registry, NAME, WEDNESDAY_S + 86_400.0, "worse")
    assert back.number == 2
    versions = opened().versions(NAME)
    assert [one.stage for one in versions] == [Stage.RETIRED, Stage.CHAMPION, Stage.RETIRED]
    assert [one.evidence for one in versions][1:] == [Evidence.ACTIVE, Evidence.ROLLED_BACK]
    assert [change.why for change in versions[2].changes] == [GIVEN.why, GIVEN.why, "worse"]
    # Once more: version 3 failed and never comes back.
    assert roll_back(registry, NAME, WEDNESDAY_S + 90_000.0, "worse still").number == 1
    with pytest.raises(StoreError, match="no earlier champion"):
        roll_back(registry, NAME, WEDNESDAY_S + 90_000.0, "no end")


def test_an_agent_that_serves_all_workloads_is_kept_like_a_forecaster(opened: Callable[[], Registry]) -> None:
    registry = opened()
    registered(registry, 1)
    agent = registry.register("global/agent", arrays(3.0), replace(ORIGIN, kind="agent"), GIVEN)
    promote(registry, "global/agent", agent.number, GIVEN)
    assert opened().names() == ["global/agent", NAME]
    kept = champion(opened().versions("global/agent"))
    assert kept is not None
    assert kept.origin.kind == "agent"
    assert opened().load(kept)["leaf"][0, 0] == 3.0


def test_what_is_not_there_is_refused_by_name(opened: Callable[[], Registry]) -> None:
    registry = opened()
    with pytest.raises(StoreError, match=f"{NAME}: no version 7; kept are none"):
        promote(registry, NAME, 7, GIVEN)
    registered(registry, 1)
    with pytest.raises(StoreError, match="no version 7; kept are 1"):
        promote(registry, NAME, 7, GIVEN)
    with pytest.raises(StoreError, match="no earlier champion"):
        roll_back(registry, NAME, WEDNESDAY_S, "why not")


def test_a_fitted_model_comes_back_as_it_was(opened: Callable[[], Registry]) -> None:
    models = replace(catalog.unfitted(1), speaker=np.array([catalog.BOOSTING]), cutoff_s=np.array([123]))
    registry = opened()
    registry.register(NAME, flattened(models), ORIGIN, GIVEN)
    promote(registry, NAME, 1, GIVEN)
    version, found, refused = serving(opened(), NAME, catalog.unfitted(1))
    assert version is not None
    assert not refused
    assert_same(found, models)


def test_a_model_of_another_shape_is_refused_by_the_name_of_its_array() -> None:
    found = flattened(catalog.unfitted(1))
    with pytest.raises(StoreError, match=r"boosting.leaf must be float32 \(1, .*, not missing"):
        restored(catalog.unfitted(1), {name: value for name, value in found.items() if name != "boosting.leaf"})
    with pytest.raises(StoreError, match=r"multiplier must be float64 .* not float32 \(3,\): made by another version"):
        restored(catalog.unfitted(1), found | {"multiplier": np.zeros(3, np.float32)})


READER = """
import json, sys
from scaler.mlflow_registry import MlflowRegistry
registry = MlflowRegistry(sys.argv[1])
for name in registry.names():
    for one in registry.versions(name):
        print(name, one.number, one.stage.value, one.evidence.label, float(registry.load(one)["leaf"][0, 0]))
"""


@pytest.mark.process
def test_mlflow_tells_a_second_process_what_serves(empty_mlflow: Path, tmp_path: Path) -> None:
    from scaler.mlflow_registry import MlflowRegistry  # noqa: PLC0415

    url = f"sqlite:///{tmp_path}/models.db"
    shutil.copy(empty_mlflow, tmp_path / "models.db")
    registry = MlflowRegistry(url)
    registered(registry, 2)
    roll_back(registry, NAME, WEDNESDAY_S + 86_400.0, "worse")
    command = [sys.executable, "-c", READER, url]
    said = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert said.stdout.splitlines() == [
        f"{NAME} 1 champion active 1.0",
        f"{NAME} 2 retired rolled back 2.0",
    ]


# --- the folder


def folder_of(tmp_path: Path, n: int) -> tuple[ModelFolder, Path]:
    folder = ModelFolder(tmp_path / "models")
    registered(folder, n)
    return folder, tmp_path / "models" / "shop" / "web~0badcafe"


def test_only_the_newest_and_who_may_serve_are_kept(tmp_path: Path) -> None:
    folder, place = folder_of(tmp_path, 9)
    assert [one.number for one in folder.versions(NAME)] == [5, 6, 7, 8, 9]
    # What the card before this one names is there as well.
    assert sorted(path.name for path in place.glob("*.npz")) == [f"v{n:06d}.npz" for n in range(5, 10)]
    roll_back(folder, NAME, WEDNESDAY_S, "worse")
    for number in range(10, 20):
        folder.register(NAME, arrays(number), replace(ORIGIN, cutoff_s=number), GIVEN)
    kept = folder.versions(NAME)
    assert champion(kept) is not None
    assert [one.number for one in kept] == [7, 8, 15, 16, 17, 18, 19]


@pytest.mark.parametrize("harm", ["cut", "emptied", "bit", "foreign", "pickle"])
def test_damaged_arrays_are_refused_by_name_and_the_version_before_serves(tmp_path: Path, harm: str) -> None:
    folder, place = folder_of(tmp_path, 3)
    path = place / "v000003.npz"
    whole = path.read_bytes()
    if harm == "pickle":
        np.savez(path, allow_pickle=True, leaf=np.array([object()], dtype=object))
    else:
        flipped = bytes([*whole[:100], whole[100] ^ 1, *whole[101:]])
        path.write_bytes({"cut": whole[:-40], "emptied": b"", "bit": flipped, "foreign": b"not ours"}[harm])
    template = arrays_as_columns()
    version, found, refused = serving(folder, NAME, template)
    assert version is not None
    assert version.number == 2
    assert found.leaf[0, 0] == 2.0
    assert len(refused) == 1
    assert "v000003.npz" in refused[0]


def arrays_as_columns() -> "Columns2":
    return Columns2(np.zeros((3, 2), np.float32))


class Columns2:
    """A model of one array."""

    __slots__ = ("leaf",)

    def __init__(self, leaf: np.ndarray) -> None:
        self.leaf = leaf


@pytest.mark.parametrize("harm", ["cut", "emptied", "moved", "foreign", "another"])
def test_a_damaged_card_is_refused_by_name_and_the_one_before_stands(tmp_path: Path, harm: str) -> None:
    folder, place = folder_of(tmp_path, 3)
    text = (place / CARD).read_text()
    harmed = {
        "cut": text[:-9],
        "emptied": "",
        "moved": text.replace('"champion"', '"retired"', 1),
        "foreign": "[]",
        "another": text.replace("version 1", "version 2"),
    }[harm]
    assert harmed != text
    (place / CARD).write_text(harmed)
    folder = ModelFolder(tmp_path / "models")
    assert [one.number for one in folder.versions(NAME)] == [1, 2, 3]
    assert champion(folder.versions(NAME)).number == 2  # type: ignore[union-attr]
    assert [path.name for path in folder.refused] == [CARD]
    # The next promotion goes on from there, and what was refused is kept aside.
    promote(folder, NAME, 3, GIVEN)
    assert champion(ModelFolder(tmp_path / "models").versions(NAME)).number == 3  # type: ignore[union-attr]
    assert (place / "card.refused.json").read_text() == harmed


def test_where_no_card_can_be_read_the_name_is_refused(tmp_path: Path) -> None:
    folder, place = folder_of(tmp_path, 2)
    for path in place.glob("card*.json"):
        path.write_text("{")
    with pytest.raises(StoreError, match=r"card\.json: not a card of models"):
        folder.versions(NAME)


def test_names_stay_inside_the_folder(tmp_path: Path) -> None:
    folder = ModelFolder(tmp_path / "models")
    folder.register("shop/../../web x", arrays(1.0), ORIGIN, GIVEN)
    assert folder.names() == ["shop/../../web x"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["models"]
    for name in ("shop", "../web", "shop/..", "/web"):
        with pytest.raises(StoreError, match="a model's name is namespace/name"):
            folder.versions(name)


PROMOTER = """
import sys
from tests.test_registry import NAME, ORIGIN, GIVEN, arrays, registered
from dataclasses import replace
from pathlib import Path
from scaler.model_folder import ModelFolder
from scaler.registry import promote
folder = ModelFolder(Path(sys.argv[1]))
while True:
    newest = int(max((one.origin.cutoff_s for one in folder.versions(NAME)), default=0)) + 1
    version = folder.register(NAME, arrays(newest), replace(ORIGIN, cutoff_s=newest), GIVEN)
    promote(folder, NAME, version.number, GIVEN)
    print(newest, flush=True)
"""


@pytest.mark.process
@pytest.mark.timeout(1200)
def test_killed_at_any_moment_the_champion_is_the_old_or_the_new_one(tmp_path: Path) -> None:
    rng, folder = random.Random(7), tmp_path / "models"  # noqa: S311
    told = 0
    for _ in range(KILLS):
        command = [sys.executable, "-c", PROMOTER, str(folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]) as promoter:
            assert promoter.stdout is not None
            first = promoter.stdout.readline()
            time.sleep(rng.uniform(0.0, 0.1))
            promoter.send_signal(signal.SIGKILL)
            told = int([first, *promoter.stdout.read().split()][-1])
        registry = ModelFolder(folder)
        serves = champion(registry.versions(NAME))
        assert not registry.refused
        assert serves is not None
        # What was registered and not promoted any more leaves a gap.
        assert serves.origin.cutoff_s in {told, told + 1}
        assert registry.load(serves)["leaf"][0, 0] == serves.origin.cutoff_s
        told = int(serves.origin.cutoff_s)
    assert told >= KILLS
