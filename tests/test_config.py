"""The YAML file: what it may hold, how a mistake is told, and that a change is applied whole or not at all."""

import asyncio
import contextlib
from datetime import date
from pathlib import Path

import pytest

from scaler import config
from scaler.config import File, parse, read, watch
from scaler.errors import SettingsError
from scaler.holidays import days_of

GOOD = """\
settings:
  stale_s: 90
servers:
  - url: http://prometheus:9090
    namespaces: [shop]
workloads:
  - name: web
    namespace: shop
    threshold: 50
    shadow: true
calendars:
  sales:
    holidays: DE
    events:
      - {name: sale, at: first monday 08:00, lasts: 4h, multiplier: learn}
"""


def test_a_whole_file_is_understood() -> None:
    file = parse(GOOD, "foresail.yaml")
    assert file.settings == {"stale_s": 90}
    assert [server.url for server in file.servers] == ["http://prometheus:9090"]
    assert [(w.namespace, w.name, w.threshold, w.shadow) for w in file.declared()] == [("shop", "web", 50.0, True)]
    assert file.calendars["sales"].events[0].multiplier == "learn"
    agenda = file.agendas()["sales"]
    assert [(event.name, event.lasts_s, event.multiplier) for event in agenda.events] == [("sale", 14_400.0, None)]
    assert (date(2026, 10, 3) - date(1970, 1, 1)).days in agenda.holidays


def test_a_part_of_a_country_has_holidays_of_its_own() -> None:
    epiphany = (date(2026, 1, 6) - date(1970, 1, 1)).days
    assert epiphany in days_of("DE-BY")
    assert epiphany not in days_of("DE")
    with pytest.raises(ValueError, match="DE-XX"):
        days_of("DE-XX")


@pytest.mark.parametrize("text", ["", "{}", "# nothing yet\n"])
def test_an_empty_file_declares_nothing(text: str) -> None:
    assert parse(text, "foresail.yaml") == File()


@pytest.mark.parametrize(
    ("wrong", "right", "says"),
    [
        ("    treshold: 50", "    threshold: 50", r"foresail\.yaml:7: workloads\.0: .*did you mean 'threshold'"),
        ("    threshold: -5", "    threshold: 50", r"foresail\.yaml:7: workloads\.0: threshold must be"),
        ("    namespace: [shop]", "    namespaces: [shop]", r"foresail\.yaml:5: servers\.0\.namespace: Extra inputs"),
        ("workload:", "workloads:", r"foresail\.yaml:6: workload: Extra inputs"),
        ("    threshold: {a: 1}", "    threshold: 50", r"threshold must be text or a number"),
        ("    threshold: [5", "    threshold: 50", r"foresail\.yaml:\d+: .*expected"),
        ("    holiday: DE", "    holidays: DE", r"foresail\.yaml:13: calendars\.sales\.holiday: Extra inputs"),
        (
            "    holidays: XX",
            "    holidays: DE",
            r"foresail\.yaml:13: calendars\.sales\.holidays: .*country such as DE",
        ),
        (
            "at: mondays at 8",
            "at: first monday 08:00",
            r"foresail\.yaml:15: calendars\.sales\.events\.0\.at: .*daily 08:00",
        ),
        ("lasts: 4 hours", "lasts: 4h", r"foresail\.yaml:15: calendars\.sales\.events\.0\.lasts: .*between 1m and 7d"),
        (
            "multiplier: lern",
            "multiplier: learn",
            r"foresail\.yaml:15: calendars\.sales\.events\.0\.multiplier: .*learn",
        ),
        (
            "multiplier: 0.5",
            "multiplier: learn",
            r"foresail\.yaml:15: calendars\.sales\.events\.0\.multiplier: .*number",
        ),
        (
            "    calendar: sale\n    shadow",
            "    shadow",
            r"foresail\.yaml:7: workloads\.0: calendar .*\(sales\), not 'sale'",
        ),
    ],
)
def test_a_mistake_is_told_with_its_line_and_key(wrong: str, right: str, says: str) -> None:
    assert right in GOOD
    with pytest.raises(SettingsError, match=says):
        parse(GOOD.replace(right, wrong, 1), "foresail.yaml")


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"\xff\xfe", "not UTF-8 at byte 0"), (b"#" * (config.LARGEST + 1), "larger than"), (b"- a\n", "the file")],
)
def test_what_is_no_such_file_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "foresail.yaml"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=says):
        read(path)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.yaml: No such file"):
        read(tmp_path / "none.yaml")


async def test_changes_are_applied_and_mistakes_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "LOOK_EVERY_S", 0.005)
    real, path, applied = tmp_path / "v1", tmp_path / "foresail.yaml", []
    changed = asyncio.Event()

    def apply(file: File) -> None:
        applied.append([w.threshold for w in file.declared()])
        changed.set()

    real.write_text(GOOD)
    path.symlink_to(real)
    task = asyncio.create_task(watch(path, apply))
    await asyncio.sleep(0.02)
    assert applied == []
    # A mounted ConfigMap changes by exchanging a link.
    for version, text in (("v2", GOOD.replace("threshold: 50", "threshold: x")), ("v3", GOOD.replace("50", "60"))):
        (tmp_path / version).write_text(text)
        link = tmp_path / "link"
        link.symlink_to(tmp_path / version)
        link.rename(path)
        await asyncio.sleep(0.05)
    await asyncio.wait_for(changed.wait(), 5)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert applied == [[60.0]]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("settings:\n  stael_s: 3\n", r"foresail\.yaml:2: settings\.stael_s: Extra inputs"),
        ("settings:\n  stale_s: -3\n", r"foresail\.yaml:2: settings\.stale_s: .*greater than 0"),
        ("calendars:\n  a: {events: [{name: x, at: 2026-02-30, lasts: 1h}]}\n", r"foresail\.yaml: day is out of range"),
        ("a: " + "[" * 5000, r"foresail\.yaml"),
    ],
)
def test_values_that_yaml_or_the_settings_cannot_hold_are_told(text: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        parse(text, "foresail.yaml")
