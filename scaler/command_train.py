"""The command `foresail train forecaster`: folders of loads in, a network and the record of its training out.

    CSV files → recorded loads → rounds (a bar, curve.csv) → state.npz after each → network.npz and card.json at the end

Whatever interrupts it, the next call with the same options goes on after the last whole round.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from forecasting import neural
from forecasting.corpus import Recorded
from scaler.backtest import writable
from scaler.errors import HistoryError, RequestError
from scaler.files import replace_file
from scaler.trace import read_csv

if TYPE_CHECKING:
    from forecasting import train

STATE, NETWORK, CURVE, CARD = "state.npz", "network.npz", "curve.csv", "card.json"
HEADING = "round,rows,loss,judged_loss\n"


def answer(options: Mapping[str, Any]) -> None:
    """Train, or go on training.

    Raises:
        RequestError: torch is missing, or the folder holds the state of another training.
        HistoryError: a file cannot be read, or none is there.
    """
    try:
        from forecasting import train  # noqa: PLC0415 - needs torch, which nothing else does
    except ModuleNotFoundError as error:
        raise RequestError("training needs torch: pip install 'foresail[train]'") from error
    out: Path = options["out"]
    writable(out)
    recorded = loads(options["traces"], options["without"])
    histories = options["histories"]
    judged = min(train.TrainConfig().judged, 4 * histories)
    config = train.TrainConfig(rounds=options["rounds"], histories=histories, judged=judged, seed=options["seed"])
    told = told_of(config, recorded)
    state = _resumed(out, told, train)
    out.mkdir(parents=True, exist_ok=True)
    curve = (out / CURVE).read_text() if state is not None else HEADING
    device = train.device_named(options["device"])
    with _bar() as progress:
        task = progress.add_task(
            f"training on {device}", total=config.rounds, completed=0 if state is None else state.done
        )
        for at in train.train(recorded, config, state, device):
            curve += f"{at.done},{at.rows},{at.loss:.5f},{at.judged_loss:.5f}\n"
            replace_file(out / CURVE, curve.encode())
            replace_file(out / STATE, _packed(at.state, told))
            progress.update(task, completed=at.done, description=f"loss {at.loss:.4f}, unseen {at.judged_loss:.4f}")
            state = at.state
    if state is not None:
        _ship(out, train.arrays(state), told)


def loads(folders: Sequence[Path], without: Sequence[str] = ()) -> list[Recorded]:
    """Recorded loads of all CSV files of some folders, by name; those that begin with one of `without` left out.

    Raises:
        HistoryError: a file cannot be read, or folders were named and none is there.
    """
    paths = sorted((path for folder in folders for path in folder.glob("*.csv")), key=lambda path: path.name)
    kept = [path for path in paths if not any(path.name.startswith(prefix) for prefix in without)]
    if folders and not kept:
        raise HistoryError(f"{', '.join(map(str, folders))}: no CSV file to train on")
    traces = [read_csv(path) for path in kept]
    return [Recorded(trace.name, trace.values, trace.spacing_s) for trace in traces]


def told_of(config: "train.TrainConfig", recorded: Sequence[Recorded]) -> dict[str, Any]:
    """What a network was trained with: the settings and their hash, the loads and theirs."""
    return {
        "config": asdict(config),
        "config_hash": config.digest,
        "loads": {one.name: hashlib.sha256(one.values.tobytes()).hexdigest()[:16] for one in recorded},
    }


def _bar() -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(stderr=True))


def _ship(out: Path, arrays: tuple[tuple[neural.Small, ...], tuple[neural.Small, ...]], told: dict[str, Any]) -> None:
    neural.write(out / NETWORK, *arrays)
    card = {**told, "network_hash": neural.digest(*arrays)}
    replace_file(out / CARD, f"{json.dumps(card, indent=1)}\n".encode())


def _packed(state: "train.TrainState", told: dict[str, Any]) -> bytes:
    columns = {"done": np.array(state.done), "steps": np.array(state.steps), "told": np.array(json.dumps(told))}
    for name in ("network", "running", "first", "second", "scale"):
        columns |= {f"{name}{k:03d}": part for k, part in enumerate(getattr(state, name))}
    file = BytesIO()
    np.savez(file, **columns)  # type: ignore[arg-type]
    return file.getvalue()


def _resumed(out: Path, told: dict[str, Any], module: Any) -> "train.TrainState | None":
    if not (out / STATE).exists():
        return None
    try:
        with np.load(out / STATE, allow_pickle=False) as file:
            if json.loads(str(file["told"])) != json.loads(json.dumps(told)):
                raise RequestError(
                    f"--out {out}: holds another training, with other loads or settings: name another folder"
                )
            parts = {
                name: tuple(file[key] for key in sorted(file) if key.startswith(name))
                for name in ("network", "running", "first", "second", "scale")
            }
            found: train.TrainState = module.TrainState(int(file["done"]), int(file["steps"]), **parts)
            return found
    except (OSError, ValueError, KeyError) as error:
        raise RequestError(f"--out {out}: {STATE} cannot be read: {error}") from error
