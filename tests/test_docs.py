"""The docs name every key, setting, route, metric and command that there is."""

import re
from pathlib import Path

import click
import pytest

from scaler.chores import Chores
from scaler.cli import main
from scaler.core.guardrails import NAMES
from scaler.core.trigger import INACTIVE_KEYS, KEDA_KEYS, KEYS, REFUSED_KEYS
from scaler.families import FAMILIES
from scaler.prometheus import PrometheusSource
from scaler.push import PushedLoad
from scaler.settings import Settings
from scaler.sources import NoCluster
from scaler.telemetry import ClusterCollector, EngineCollector, SourceCollector
from scaler.web import ROUTES
from tests.service import declared, loop_of, some_engine

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def read(path: str) -> str:
    return (ROOT / path).read_text()


@pytest.mark.parametrize("key", sorted({*KEYS, *INACTIVE_KEYS, *REFUSED_KEYS, *KEDA_KEYS}))
def test_every_trigger_key_is_documented(key: str) -> None:
    assert f"`{key}`" in read("docs/reference/trigger.md")


@pytest.mark.parametrize("name", list(Settings.model_fields))
def test_every_setting_is_documented_with_flag_variable_default_and_meaning(name: str) -> None:
    field = Settings.model_fields[name]
    row = f"| `--{name.replace('_', '-')}` | `FORESAIL_{name.upper()}` | `{field.default}` | {field.description} |"
    assert row in read("docs/reference/settings.md")


async def test_every_exported_metric_is_documented_and_none_beside() -> None:
    engine, _, _ = some_engine()
    async with loop_of(engine):
        await engine.first(engine.declare(declared("web")))
        families = list(EngineCollector(engine).collect())
        families += ClusterCollector(engine, None, Chores(engine, NoCluster(), None)).collect()
    families += SourceCollector(PrometheusSource(()), PushedLoad(None)).collect()
    exported = {f.name + ("_total" if f.type == "counter" else "") for f in families}
    assert exported == set(re.findall(r"^\| `(foresail_\w+)`", read("docs/reference/metrics.md"), re.MULTILINE))


def test_every_route_is_documented() -> None:
    text = read("docs/reference/http.md").replace("{ns}", "{namespace}")
    assert [f"{r.method} {r.path}" for r in ROUTES if f"`{r.method} {r.path}" not in text] == []


def test_every_series_of_the_read_api_is_documented_with_its_label_and_none_beside() -> None:
    told = re.findall(r"^\| `(foresail_\w+)` \| (\w*)", read("docs/reference/promql.md"), re.MULTILINE)
    assert dict(told) == {name: family.label or "" for name, family in FAMILIES.items()}


def test_every_command_and_guardrail_is_documented() -> None:
    text = "".join(path.read_text() for path in [ROOT / "README.md", *DOCS.rglob("*.md")])
    assert isinstance(main, click.Group)
    assert [name for name in main.commands if f"foresail {name}" not in text] == []
    assert [name for name in NAMES if f"| {name} |" not in read("docs/concepts/decision.md")] == []
