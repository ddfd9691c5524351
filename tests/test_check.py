"""`foresail check`: what it says of answers, right and wrong."""

import pytest

from scaler.check import Answers, Deployment, bounds, judge, queries
from scaler.core.trigger import parse_workload
from tests.fake_prometheus import FakePrometheus, serving

SPEC = (("predicted-replicas", 1.0),)


def said(answers: Answers, deployment: Deployment | None = None) -> list[tuple[bool, str]]:
    return [(finding.ok, finding.text) for finding in judge(answers, deployment)]


def test_good_answers_pass_and_the_move_is_told() -> None:
    found = said(Answers(SPEC, (12.0,), True), Deployment(9, 1, 60))
    assert all(ok for ok, _ in found)
    assert found[-1][1] == "HPA: 9 replicas now, the value asks for 12, it will go for 12"


def test_a_value_inside_the_dead_band_is_found() -> None:
    ok, text = said(Answers(SPEC, (22.0,), True), Deployment(20, 1, 60))[-1]
    assert not ok
    assert "inside its dead band of 10%, it will not move" in text


@pytest.mark.parametrize(("value", "ends"), [(120.0, 60), (0.1, 2)])
def test_values_that_mean_the_bounds_are_right(value: float, ends: int) -> None:
    ok, text = said(Answers(SPEC, (value,), True), Deployment(20, 2, 60))[-1]
    assert ok
    assert text.endswith(f"go for {ends}")


def test_a_value_beyond_the_bounds_is_found() -> None:
    ok, text = said(Answers(SPEC, (80.0,), True), Deployment(20, 1, 60))[-1]
    assert not ok
    assert "outside its bounds 1 to 60" in text


@pytest.mark.parametrize(
    ("answers", "part"),
    [
        (Answers((), (1.0,), True), "GetMetricSpec: nothing"),
        (Answers((("x", 0.0),), (1.0,), True), "a target above 0"),
        (Answers(SPEC, (), True), "GetMetrics: nothing"),
        (Answers(SPEC, (1.0, 2.0), True), "adds all values"),
        (Answers(SPEC, (float("nan"),), True), "GetMetrics: nan"),
        (Answers(SPEC, (0.0,), True), "an active workload sends 0"),
    ],
)
def test_what_keda_could_not_use_is_found(answers: Answers, part: str) -> None:
    assert any(not ok and part in text for ok, text in said(answers))


def test_bounds_beyond_the_hpas_are_found() -> None:
    workload = parse_workload({"threshold": "5", "minReplicas": "1", "maxReplicas": "99"}, name="web")
    texts = [finding.text for finding in bounds(workload, Deployment(5, 2, 60))]
    assert texts == ["maxReplicas 99 is above the HPA's 60", "minReplicas 1 is below the HPA's 2"]
    assert list(bounds(workload, Deployment(5, 1, 100))) == []


async def test_a_query_is_read_by_its_own_server_and_its_faults_are_told() -> None:
    async with serving(FakePrometheus()) as fake:
        workload = parse_workload(
            {"threshold": "50", "serverAddress": fake.url, "query": "sum(rate(requests[1m]))"}, name="web"
        )
        good = await queries(workload, (), None)
        fake.n_series = 3
        bad = await queries(workload, (), None)
    assert [(finding.ok, finding.text) for finding in good] == [(True, f"{workload.query}: one series, a total")]
    assert [finding.ok for finding in bad] == [False]
    assert "several series: wrap it in sum" in bad[0].text
