"""What is said in plain words, and when."""

from dataclasses import replace

import pytest

from scaler.core.verdict import Case, Standing, judge


def standing(cost: float | None, least: float = 0.0) -> Standing:
    return Standing(cost, cost, least)


CASE = Case(
    target_pct=1.0,
    reactive=standing(1.5),
    ours=standing(1.23),
    limit=standing(1.1),
    ratio=(0.78, 0.86),
    season=0.9,
    headroom=1.4,
    covered=0.93,
)


def test_a_clear_saving_pays() -> None:
    verdict = judge(CASE)
    assert verdict.pays is True
    assert verdict.saving_pct == pytest.approx(18.0)
    assert verdict.interval_pct == (14.0, 22.0)
    assert verdict.sentence.startswith("Prediction pays here: 18 % fewer replica-hours at the same SLO")
    assert "14 to 22 %" in verdict.sentence
    assert "perfect foresight would save 27 %" in verdict.reason


def test_a_saving_that_may_be_none_is_not_claimed() -> None:
    verdict = judge(replace(CASE, ratio=(0.7, 1.1)))
    assert verdict.pays is None
    assert verdict.sentence.startswith("This history cannot tell")


def test_equal_costs_do_not_pay_and_the_reason_names_headroom_and_season() -> None:
    verdict = judge(replace(CASE, ours=standing(1.49), season=0.05, covered=0.995, ratio=None))
    assert verdict.pays is False
    assert "does not pay here: the same replica-hours" in verdict.sentence
    assert "hardly a season" in verdict.reason
    assert "already covers 99.5 %" in verdict.reason


def test_more_replicas_for_the_same_do_not_pay() -> None:
    verdict = judge(replace(CASE, ours=standing(1.65)))
    assert verdict.pays is False
    assert "10 % more replica-hours" in verdict.sentence


@pytest.mark.parametrize(
    ("reactive", "ours", "pays", "words"),
    [
        (standing(None, 3.2), standing(1.6), True, "no HPA threshold does"),
        (standing(1.6), standing(None, 2.5), False, "leaves 2.5 % of the load short at best"),
        (standing(None, 3.2), standing(None, 2.5), None, "Nobody keeps the SLO"),
    ],
)
def test_where_only_one_keeps_the_slo(reactive: Standing, ours: Standing, pays: object, words: str) -> None:
    verdict = judge(replace(CASE, reactive=reactive, ours=ours, ratio=None))
    assert verdict.pays is pays
    assert verdict.saving_pct is None
    assert words in verdict.sentence
