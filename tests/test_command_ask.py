"""`foresail status` and `foresail explain`: what they print for people, pipes and programs, and how they end."""

import asyncio
import io
import json
import re
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from scaler import command_ask
from scaler.cli import main
from scaler.core.domain import Running
from tests.service import free_port, some_engine, tick
from tests.test_web import client_of

RUNNING = Running(9, 9, 1, 30, 0.1)


async def asked(client: Any, *words: str) -> Result:
    """A command beside the server, in a thread of its own: it blocks."""
    url = str(client.make_url("/"))
    return await asyncio.to_thread(CliRunner().invoke, main, [*words, "--url", url])


async def test_status_lists_every_workload_in_plain_columns_when_piped() -> None:
    engine, source, clock = some_engine(running=RUNNING)
    async with client_of(engine, "web", "api") as client:
        source.broken.add("api")
        await tick(engine, clock, 1)
        done = await asked(client, "status")
        alone = await asked(client, "status", "--namespace", "elsewhere")
    assert done.exit_code == 0, done.output
    head, api, web, summary = [line.split() for line in done.stdout.splitlines()]
    assert head == ["workload", "mode", "load", "replicas", "decided", "HPA", "rule", "forecast", "remark"]
    assert api[:2] == ["shop/api", "Recovery"]
    assert "broken" in api
    decided = engine.board.answer(engine.roster.find("web"))
    made, row = decided.decisions, decided.row
    assert web == [
        "shop/web", "Recovery", f"{made.load[row]:,.0f}", "9", str(made.predicted_replicas[row]),
        str(made.reactive[row]), str(made.predictive[row]),
    ]  # fmt: skip
    assert " ".join(summary) == "2 workloads: 2 Recovery; the load of 1 cannot be read."
    assert "\x1b" not in done.output
    assert "No workload is tracked" in alone.stdout


async def test_status_as_json_is_what_the_service_answers() -> None:
    engine, _, clock = some_engine(running=RUNNING)
    async with client_of(engine, "web") as client:
        await tick(engine, clock, 1)
        done = await asked(client, "status", "--json")
        told = await (await client.get("/v1/workloads")).json()
    assert json.loads(done.stdout) == told
    assert told["journal"] is None


async def test_a_journal_in_memory_only_is_told_of() -> None:
    engine, _, _ = some_engine(running=RUNNING)
    engine.journal.trouble = "var/journal.sqlite: database or disk is full"
    async with client_of(engine, "web") as client:
        done = await asked(client, "status")
    assert "Decisions are kept in memory only: var/journal.sqlite: database or disk is full" in done.stdout


async def test_status_is_shown_again_until_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(command_ask.time, "sleep", wait)
    engine, _, clock = some_engine(running=RUNNING)
    async with client_of(engine, "web") as client:
        await tick(engine, clock, 1)
        done = await asked(client, "status", "--json", "--watch", "2.5")
    assert waits == [2.5] * 3
    assert [len(json.loads(line)["workloads"]) for line in done.stdout.splitlines()] == [1, 1, 1]
    assert done.exit_code == 130
    assert "foresail status: interrupted" in done.output


async def test_explain_says_why_in_sentences_and_as_json() -> None:
    engine, _, clock = some_engine(running=RUNNING)
    async with client_of(engine, "web") as client:
        await tick(engine, clock, 2)
        done = await asked(client, "explain", "shop/web")
        then = await asked(client, "explain", "shop/web", "--at", "00:00:15", "--json")
        told = await (await client.get("/v1/workloads/shop/web/explain")).json()
        nobody = await asked(client, "explain", "shop/none")
        never = await asked(client, "explain", "shop/web", "--at", "soon")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [told["headline"], *told["sentences"]]
    assert json.loads(then.stdout)["t"] == clock() - 15.0
    assert (nobody.exit_code, never.exit_code) == (2, 2)
    assert "foresail explain: " in nobody.stderr
    assert "no workload 'none' in namespace 'shop' is tracked" in nobody.stderr
    assert "a time is " in never.stderr


LISTED = {
    "journal": None,
    "workloads": [
        {"namespace": "shop", "name": "web", "mode": "Failed", "load": None, "replicas": 9, "predicted_replicas": 1200,
         "reactive": 0, "predictive": None, "trouble": "no answer [within 5 s]", "inactive_keys": ["cpuQuery"]},
    ],
}  # fmt: skip
EXPLAINED = {
    "headline": "shop/web: 1 replica.",
    "sentences": ["Nothing was clamped."],
    "forecast": {"load": 500.0, "parts": {"level": 610.0, "day": -110.0}},
}


class Canned:
    """A service that answers the same for ever."""

    def get(self, path: str, **query: str) -> dict[str, Any]:
        del query
        return LISTED if path == "/v1/workloads" else EXPLAINED


def at_a_terminal(monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[Result, str]:
    """A command at a terminal of 140 columns, interrupted at its second wait."""
    shown, waits = io.StringIO(), [KeyboardInterrupt(), None]

    def wait(seconds: float) -> None:
        assert seconds == 5.0
        if (stop := waits.pop()) is not None:
            raise stop

    monkeypatch.setattr(command_ask, "console", lambda: Console(force_terminal=True, width=140, file=shown))
    monkeypatch.setattr(command_ask, "service_of", lambda _: Canned())
    monkeypatch.setattr(command_ask.time, "sleep", wait)
    return CliRunner().invoke(main, list(words)), shown.getvalue()


def test_a_terminal_gets_colours_and_what_is_watched_is_drawn_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    done, shown = at_a_terminal(monkeypatch, "status", "--watch")
    assert done.exit_code == 130, done.output
    assert shown.count("1 workload: 1 Failed; the load of 1 cannot be read.") == 2
    assert "\x1b[31mFailed" in shown, "red"
    assert "\x1b[?1049h" in shown, "a screen of its own, so that what stood there comes back"
    plain = re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", shown)
    assert re.search(r"shop/web +Failed +– +9 +1,200 +0 +– +no answer \[within 5 s\]; not used yet: *cpuQuery", plain)


def test_at_a_terminal_an_explanation_ends_with_a_table_of_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    done, shown = at_a_terminal(monkeypatch, "explain", "shop/web")
    assert done.exit_code == 0, done.output
    plain = re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", shown)
    assert [line.split() for line in plain.splitlines()[-3:]] == [
        ["level", "610", "█" * 20],
        ["day", "-110", "████"],
        ["all", "500"],
    ]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["status", "--url", "ftp://x"], "--url must be such as http://127.0.0.1:8080"),
        (["explain", "web"], "a workload is namespace/name; `foresail status` lists them"),
        (["status", "--tls-ca", "FILE"], "need an --url that begins with https"),
        (["status", "--url", "https://127.0.0.1:1", "--tls-cert", "FILE"], "belong together"),
        (["status", "--url", "https://127.0.0.1:1", "--tls-ca", "FILE"], "--tls-ca, --tls-cert, --tls-key: "),
        (["status"], "nobody listens there: start `foresail serve`, or name the service with --url"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_what_to_do(tmp_path: Path, words: list[str], says: str) -> None:
    (tmp_path / "file").write_text("no certificate")
    given = [str(tmp_path / "file") if word == "FILE" else word for word in words]
    done = CliRunner().invoke(main, given, env={"FORESAIL_URL": f"http://127.0.0.1:{free_port()}"})
    assert done.exit_code == 2
    assert says in done.stderr
    assert done.stdout == ""


async def test_a_port_that_is_not_foresails_is_named() -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    done = await asyncio.to_thread(CliRunner().invoke, main, ["status", "--url", f"http://127.0.0.1:{port}"])
    server.close()
    assert done.exit_code == 2
    assert f"http://127.0.0.1:{port}: " in done.stderr


def commands(group: click.Group) -> dict[str, click.Command]:
    """All commands by their words; a group prints nothing itself."""
    found: dict[str, click.Command] = {}
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            found |= {f"{name} {rest}": one for rest, one in commands(command).items()}
        else:
            found[name] = command
    return found


@pytest.mark.parametrize(("name", "command"), sorted(commands(main).items()))
def test_every_command_that_prints_has_json(name: str, command: click.Command) -> None:
    flags = {flag for option in command.params for flag in option.opts}
    # pipe speaks JSON only, serve prints its settings so, training writes its card as JSON.
    assert "--json" in flags or name in {"pipe", "serve", "train agent", "train forecaster"}
