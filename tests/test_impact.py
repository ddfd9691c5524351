"""`foresail impact` as an owner meets it: a journal in, sentences, figures and an exit code out."""

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from scaler.cli import main
from scaler.core.domain import UNKNOWN, Mode
from scaler.core.impact import Arm, Effect, Impact
from scaler.core.simulator.score import Figures, Interval
from scaler.errors import HistoryError
from scaler.impact import Answer, answer_of, as_json, as_text, logged_of, sentences, verdict
from scaler.journal import Journal
from scaler.record import AFTER, LAYOUT, Recorded, Records, columns_of
from scaler.roster import Key
from tests.core.weeks import Truth, Weeks, lived
from tests.fakes import WEDNESDAY_S

KEY = Key("shop", "web", "0a1b2c3d")


@pytest.fixture(scope="module")
def day() -> Truth:
    return lived(Weeks(1, 0.6))


def rows_of(truth: Truth, **fields: Any) -> Records:
    """A lived week as a journal would keep it, but for what is given."""
    logged, ready = truth.logged[0], truth.ready[0]
    rows = np.zeros(len(logged.t_s), LAYOUT)
    for name in LAYOUT.names or ():
        rows[name] = {"f": np.nan, "i": UNKNOWN, "u": 0}[LAYOUT[name].base.kind]
    kept: dict[str, Any] = {
        "t": logged.t_s, "step": 15.0, "load": logged.load, "replicas": logged.ran, "ready": ready,
        "reactive": logged.forecast, "reactive_alone": logged.forecast, "predictive": logged.forecast,
        "minimum": 1, "maximum": 100, "h": 13, "mode": int(Mode.NORMAL), "earned": 1.0, "price": logged.price,
        "tolerance": 0.1, "tolerance_down": 0.1, "threshold": 7.0, "capacity": 10.0, "proposal": logged.decided,
    }  # fmt: skip
    for name, value in (kept | dict.fromkeys(AFTER, logged.decided) | fields).items():
        rows[name] = value
    return rows


def kept(truth: Truth, **fields: Any) -> Recorded:
    return columns_of(rows_of(truth, **fields))


def shown(answer: Answer) -> str:
    console = Console(width=200, file=io.StringIO())
    console.print(as_text(answer))
    return " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def answered(day: Truth) -> Answer:
    return answer_of(KEY, kept(day))


def test_the_journal_gives_what_was_lived(day: Truth, answered: Answer) -> None:
    logged, start_up = logged_of(kept(day), None)
    lived_through = day.logged[0]
    assert np.array_equal(logged.load, lived_through.load)
    assert np.array_equal(logged.decided, lived_through.decided)
    assert logged.workload.lead_s == pytest.approx(lived_through.workload.lead_s)
    assert start_up == "the mean of the pods that came"
    assert answered.impact.against_rule.saved_pct == pytest.approx(day.effects[0].saved_pct, abs=2.0)


def test_it_says_what_has_changed_and_what_that_rests_on(answered: Answer) -> None:
    text = shown(answered)
    assert "In 13.4 hours prediction has saved" in text
    assert "of the load short than the reactive rule alone." in text
    assert "Against the forecast alone, trust and guardrails have changed the replica-hours by" in text
    assert "No interval: 3 blocks of six hours, 10 are needed." in text
    assert "Whether it pays cannot be told yet." in text
    assert "A replica bears 10, and serves" in text
    assert "Reactive rule: target 7, tolerance 0.1, 300 s of scale-down stabilization, 1 to 100 replicas." in text


def test_programs_read_the_same(answered: Answer) -> None:
    told = json.loads(json.dumps(as_json(answered), allow_nan=False))
    assert list(told["arms"]) == ["reactive", "forecast", "decided"]
    assert told["against_reactive"]["saved_interval_pct"] is None
    assert told["sentences"] == list(answered.sentences)
    assert (told["verdict"], told["resembles"], told["blocks"]) == ("unclear", "decided", 3)


def changed(saved: tuple[float, float], less: tuple[float, float], resembles: Arm | None = Arm.DECIDED) -> Impact:
    """An impact with these intervals, and the middle of each found."""
    effect = Effect(sum(saved) / 2, Interval(*saved), sum(less) / 2, Interval(*less))
    return Impact(Figures(*np.ones((7, 4))), effect, effect, None, 7.0, 28, resembles, 100.0)


@pytest.mark.parametrize(
    ("saved", "less", "word", "said"),
    [
        (
            (4.0, 8.0),
            (-0.2, 0.6),
            "pays",
            "has saved 6.0 % of the replica-hours (95 % interval 4 to 8 %) and left",
        ),
        ((-2.0, 2.0), (0.2, 0.6), "pays", "0.40 points less of the load short (95 % interval 0.2 to 0.6 points)"),
        ((4.0, 8.0), (-0.6, -0.2), "trades", "0.40 points more of the load short (95 % interval 0.2 to 0.6 points)"),
        ((-8.0, -4.0), (0.2, 0.6), "trades", "spent 6.0 % more replica-hours (95 % interval 4 to 8 %)"),
        ((-8.0, -4.0), (-0.1, 0.3), "costs", "It does not pay so far."),
        ((-2.0, 4.0), (-0.1, 0.3), "unclear", "(95 % interval -2 to 4 %)"),
    ],
)
def test_the_verdict_is_what_lies_on_one_side_of_zero(
    saved: tuple[float, float], less: tuple[float, float], word: str, said: str
) -> None:
    found = changed(saved, less)
    assert verdict(found) == word
    assert said in " ".join(sentences(found, shadow=False))


def test_where_nothing_resembles_what_ran_there_is_no_interval_and_no_verdict() -> None:
    found = changed((4.0, 8.0), (0.2, 0.6), resembles=None)
    text = " ".join(sentences(found, shadow=False))
    assert verdict(found) == "unclear"
    assert "95 % interval" not in text
    assert "No interval: what ran, 100 replica-hours, is not within 10 %" in text


def test_where_the_rule_ran_it_is_said_that_nobody_acted() -> None:
    text = " ".join(sentences(changed((4.0, 8.0), (0.2, 0.6), Arm.REACTIVE), shadow=False))
    assert "prediction would have saved 6.0 %" in text
    assert text.endswith("nobody acted on what was decided.")


def part(truth: Truth, hours: float, **fields: Any) -> Recorded:
    n = round(hours * 240)
    return columns_of(rows_of(truth, **fields)[:n])


def test_in_shadow_it_says_what_would_have_changed(day: Truth) -> None:
    # The rule alone was served: what it wanted is what ran.
    (alone,) = [answer_of(KEY, part(day, 8.0))]
    shadow = answer_of(KEY, part(day, 8.0, shadow=1, reactive_alone=30, **dict.fromkeys(AFTER, 30)))
    assert "prediction would have" in shadow.sentences[0]
    assert any(line.startswith("In shadow:") for line in shadow.assumptions)
    ours = [float(one.impact.figures.replica_hours[Arm.DECIDED]) for one in (alone, shadow)]
    # What the mode would have served is the forecast, not the 30 that were.
    assert ours[1] == pytest.approx(ours[0], rel=0.1)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"replicas": 90, "ready": 90}, "is not within 10 % of what is simulated"),
        ({"minimum": 0}, "One replica is counted for each while the workload was at zero."),
        ({"capacity": 7.0}, "A replica bears 7 (the threshold: no other was stated or learnt)"),
        ({"ready": 1, "replicas": 1}, "(by the lead window)"),
    ],
)
def test_what_stands_against_it_is_named(day: Truth, fields: dict[str, Any], named: str) -> None:
    assert named in shown(answer_of(KEY, part(day, 7.0, **fields)))


def test_pauses_are_not_scored_and_steps_of_a_minute_are_spread(day: Truth) -> None:
    paused = np.zeros(len(day.logged[0].t_s), np.int64)
    paused[480:] = 1
    logged, _ = logged_of(part(day, 4.0, paused=paused), 60.0)
    assert not np.isnan(logged.load[:480]).any()
    assert np.isnan(logged.load[480:]).all()
    minutes = rows_of(day, step=60.0)[3:960:4]
    spread, _ = logged_of(columns_of(minutes), 60.0)
    assert len(spread.t_s) == 4 * (len(minutes) - 1) + 1
    assert np.array_equal(spread.load[1:5], np.repeat(minutes["load"][1], 4))
    assert np.array_equal(spread.decided[:4], np.repeat(minutes["proposal"][0], 4))


@pytest.mark.parametrize(
    ("fields", "hours", "named"),
    [({}, 5.0, "less than six hours"), ({"arrivals": 5.0}, 8.0, "is a queue"), ({"load": np.nan}, 8.0, "no load")],
)
def test_what_cannot_be_answered_is_refused_by_name(
    day: Truth, fields: dict[str, Any], hours: float, named: str
) -> None:
    with pytest.raises(HistoryError, match=named):
        answer_of(KEY, part(day, hours, **fields))


@pytest.fixture
def folder(tmp_path: Path, day: Truth) -> Iterator[Path]:
    """State of a service whose journal keeps the last seven hours."""
    journal = Journal(tmp_path / "journal.sqlite")
    shift_s = time.time() // 15.0 * 15.0 - WEDNESDAY_S - 7 * 3600.0
    for row in rows_of(day, t=day.logged[0].t_s + shift_s)[: 7 * 240]:
        journal.post(0, [KEY], np.array([row], LAYOUT))
    journal.close()
    return tmp_path


def test_the_command_reads_a_journal_and_prints_a_table_or_json(folder: Path) -> None:
    plain = CliRunner().invoke(main, ["impact", "shop/web", "--var", str(folder), "--lead", "90s"])
    assert plain.exit_code == 0, plain.output
    assert "reactive rule" in plain.output
    assert "\x1b" not in plain.output
    assert "serves 90 s after it was asked for (as stated)" in " ".join(plain.output.split())
    asked = CliRunner().invoke(main, ["impact", "shop/web~0a1b2c3d", "--var", str(folder), "--json"])
    assert json.loads(asked.stdout)["workload"] == "shop/web"


def test_the_command_refuses_with_what_is_there(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    def refused(*words: str) -> str:
        result = CliRunner().invoke(main, ["impact", *words])
        assert result.exit_code == 2
        return result.output

    var = ("--var", str(folder))
    assert "shop/api is not in the journal; there: shop/web" in refused("shop/api", *var)
    assert "a workload is namespace/name" in refused("web", *var)
    assert "--lead must be a duration" in refused("shop/web", *var, "--lead", "soon")
    assert "no journal there; --var names the folder" in refused("shop/web", "--var", str(tmp_path_factory.mktemp("x")))


def test_an_agent_in_shadow_is_compared_with_the_forecast_alone(day: Truth) -> None:
    forecast = day.logged[0].forecast
    thrifty = answer_of(KEY, kept(day, learned=np.maximum(forecast - 2, 1)))
    silent = answer_of(KEY, kept(day))
    assert thrifty.impact.agent is not None
    assert thrifty.impact.agent.saved_pct > 5.0
    assert "the agent would have changed the replica-hours by -" in shown(thrifty)
    assert silent.impact.agent is None
    assert "the agent" not in shown(silent)
