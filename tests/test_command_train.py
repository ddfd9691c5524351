"""`foresail train forecaster`: progress, resume, and what lies in its folder."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from forecasting import neural
from scaler import command_train
from scaler.cli import main
from scaler.command_train import loads
from scaler.errors import HistoryError

QUICK = ("--histories", "2", "--device", "cpu")


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    folder = tmp_path / "traces"
    folder.mkdir()
    for name in ("one_a", "one_b", "two"):
        values = 50 + 20 * np.sin(np.arange(4 * 1440) / 229.2)
        lines = "\n".join(f"{60 * k},{value:.3f}" for k, value in enumerate(values))
        (folder / f"{name}.csv").write_text(f"timestamp,value\n{lines}\n")
    return folder


def trained(*options: str | Path) -> Result:
    pytest.importorskip("torch", reason="training needs torch (extra `train`)")
    return CliRunner().invoke(main, ["train", "forecaster", *map(str, options), *QUICK])


def test_a_training_leaves_a_network_its_card_and_its_curve(traces, tmp_path):
    out = tmp_path / "out"
    result = trained(traces, "--without", "one_", "--rounds", "2", "--out", out)
    assert result.exit_code == 0, result.output
    network, card = neural.read(out / "network.npz"), json.loads((out / "card.json").read_text())
    assert card["network_hash"].startswith(network.version)
    assert list(card["loads"]) == ["two"]
    assert card["config"]["rounds"] == 2
    assert [line.split(",")[0] for line in (out / "curve.csv").read_text().splitlines()] == ["round", "1", "2"]


def test_an_interrupted_training_goes_on_to_the_same_network(tmp_path, monkeypatch):
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    assert trained("--rounds", "2", "--out", whole).exit_code == 0
    written = command_train.replace_file

    def interrupted(path: Path, content: bytes) -> None:
        written(path, content)
        if path.name == command_train.STATE:
            raise KeyboardInterrupt

    monkeypatch.setattr(command_train, "replace_file", interrupted)
    first = trained("--rounds", "2", "--out", parted)
    assert first.exit_code == 130
    assert "the same command goes on" in first.output
    monkeypatch.undo()
    assert trained("--rounds", "2", "--out", parted).exit_code == 0
    assert (parted / "curve.csv").read_text() == (whole / "curve.csv").read_text()
    assert (parted / "card.json").read_text() == (whole / "card.json").read_text()


def test_a_folder_with_another_training_is_refused(tmp_path):
    assert trained("--rounds", "1", "--out", tmp_path).exit_code == 0
    result = trained("--rounds", "2", "--out", tmp_path)
    assert result.exit_code == 1
    assert "holds another training" in result.output


def test_loads_are_read_by_name_and_left_out_by_prefix(traces):
    assert [one.name for one in loads([traces])] == ["one_a", "one_b", "two"]
    assert [one.name for one in loads([traces], ["one_"])] == ["two"]
    assert loads([]) == []
    with pytest.raises(HistoryError, match="no CSV file to train on"):
        loads([traces], ["one", "two"])
