"""`foresail models` and `foresail retrain`: what is kept is shown, what is asked for is written down."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from scaler.cli import main
from scaler.core import steering
from scaler.core.trust import Evidence
from scaler.model_folder import ModelFolder
from scaler.steering_file import read
from tests.fakes import WEDNESDAY_S
from tests.test_registry import GIVEN, NAME, registered


@pytest.fixture
def var(tmp_path: Path) -> Path:
    """A folder with two versions, the second of which serves."""
    registered(ModelFolder(tmp_path / "models"), 2)
    return tmp_path


def said(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, list(arguments), catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


def test_the_list_shows_the_champion_of_each_workload(var: Path) -> None:
    lines = said("models", "list", "--var", str(var)).splitlines()
    assert len(lines) == 2
    assert lines[1].split() == [NAME, "2", "champion", "active", "2026-09-16", "02:00", "0.1.0", "2"]


def test_a_workload_shows_its_versions_and_one_of_them_its_history(var: Path) -> None:
    both = said("models", "show", "shop/web", "--var", str(var)).splitlines()
    assert [line.split()[1:3] for line in both[1:]] == [["1", "retired"], ["2", "champion"]]
    one = said("models", "show", "shop/web", "1", "--var", str(var))
    for part in (
        "version 1: retired, active",
        "fitted to   2026-09-15 00:00 to 2026-09-16 01:00 UTC",
        "0.25",
        GIVEN.why,
    ):
        assert part in one
    assert "version 2 took its place" in one
    assert "no version 9; kept are 1, 2" in said("models", "show", "shop/web", "9", "--var", str(var), code=2)
    assert "shop/nobody: nothing is kept of it" in said("models", "show", "shop/nobody", "--var", str(var), code=2)


def test_programs_read_json(var: Path) -> None:
    (listed,) = json.loads(said("models", "list", "--json", "--var", str(var)))
    assert listed["name"] == NAME
    assert [(one["number"], one["stage"]) for one in listed["versions"]] == [(1, "retired"), (2, "champion")]
    (one,) = json.loads(said("models", "show", "shop/web", "2", "--json", "--var", str(var)))
    assert one["scores"] == {"challenger": 0.25}


def test_a_diff_names_what_differs(var: Path) -> None:
    text = said("models", "diff", "shop/web", "1", "2", "--var", str(var))
    rows = {line.split("  ")[0]: line.split() for line in text.splitlines()}
    assert rows["stage"][-2:] == ["retired", "champion"]
    assert rows["leaf"][-3:] == ["1", "2", "(mean)"]
    assert "boosting.start" not in rows
    assert "configuration" not in rows


def chosen(var: Path) -> dict[str, str]:
    found = read(var / "steering.json")["shop/web"][steering.CHAMPION]
    return {str(key): str(value) for key, value in json.loads(found).items()}


def test_a_rollback_asks_for_the_predecessor(var: Path) -> None:
    text = said("models", "rollback", "shop/web", "--reason", "wastes", "--by", "ann", "--var", str(var))
    assert "version 1, fitted until 2026-09-16T01:00:00Z, serves from the next tick" in text
    asked = chosen(var)
    assert (asked["cutoff"], asked["reason"], asked["by"]) == ("2026-09-16T01:00:00Z", "wastes", "ann")


def test_a_promotion_asks_for_a_version(var: Path) -> None:
    said("models", "promote", "shop/web", "1", "--reason", "knows the sale", "--var", str(var))
    assert chosen(var)["cutoff"] == "2026-09-16T01:00:00Z"


def test_without_a_predecessor_there_is_no_rollback(tmp_path: Path) -> None:
    registered(ModelFolder(tmp_path / "models"), 1)
    text = said("models", "rollback", "shop/web", "--reason", "?", "--var", str(tmp_path), code=2)
    assert "no earlier champion is kept" in text


def test_what_failed_before_is_no_predecessor(var: Path) -> None:
    folder = ModelFolder(var / "models")
    failed = replace(folder.versions(NAME)[0].changes[-1], evidence=Evidence.ROLLED_BACK)
    folder.move(NAME, {1: failed})
    text = said("models", "rollback", "shop/web", "--reason", "?", "--var", str(var), code=2)
    assert "no earlier champion is kept" in text


def test_a_registry_that_nobody_understands_is_refused_by_name(tmp_path: Path) -> None:
    text = said("models", "list", "--registry", "ftp://models", "--var", str(tmp_path), code=2)
    assert "registry must be a URL that begins with sqlite:, http:" in text


def test_one_workload_is_retrained_by_asking_the_service(tmp_path: Path) -> None:
    text = said("retrain", "shop/web", "--var", str(tmp_path))
    assert "serves if the gate passes it" in text
    asked = read(tmp_path / "steering.json")["shop/web"]
    at_s = steering.moment(asked[steering.RETRAIN])
    assert steering.read(asked, at_s + 1.0).retrain_s == at_s


def test_a_retraining_needs_a_workload_or_all_and_all_need_a_file(tmp_path: Path) -> None:
    assert "give either NAMESPACE/NAME or --all" in said("retrain", code=2)
    assert "give either NAMESPACE/NAME or --all" in said("retrain", "shop/web", "--all", code=2)
    assert "--all needs --config" in said("retrain", "--all", "--var", str(tmp_path), code=2)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("2026-09-15T00:00:00Z", "must be JSON"),
        ("{}", "must have exactly the keys cutoff, at, reason, by"),
        (
            '{"cutoff": "2026-09-16T00:00:00Z", "at": "2026-09-15T00:00:00Z", "reason": "r", "by": "b"}',
            "cutoff must not lie after at",
        ),
        ('{"cutoff": "2026-09-15T00:00:00Z", "at": "2027-09-15T00:00:00Z", "reason": "r", "by": "b"}', "is ahead"),
        ('{"cutoff": "2026-09-15T00:00:00Z", "at": "2026-09-15T10:00:00Z", "reason": " ", "by": "b"}', "reason"),
    ],
)
def test_a_choice_that_cannot_be_understood_is_refused_by_name(value: str, why: str) -> None:
    found = steering.read({steering.CHAMPION: value}, WEDNESDAY_S)
    assert found.champion is None
    assert why in found.refused[0]
