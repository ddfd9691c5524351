"""Predictions: one set of answers behind HTTP and gRPC, one question or a thousand."""

import io
import math

import grpc
import numpy as np
import pytest

from scaler.bodies import batch_of, question_of
from scaler.engine import Engine
from scaler.errors import RequestError, UnknownWorkload
from scaler.predictions import Prediction, Question, answer, answer_one
from scaler.proto import prediction_pb2 as pb
from scaler.proto.prediction_pb2_grpc import PredictionStub
from scaler.whatif import NOTHING, Imagined
from tests.service import daily, declared, loop_of, some_engine, tick
from tests.test_servicer import door_of
from tests.test_web import client_of


async def answers(engine: Engine, questions: list[Question]) -> list[Prediction]:
    return [
        said for tile in [t async for t in answer(engine, questions)] for said in tile if isinstance(said, Prediction)
    ]


def asked(**metrics: float) -> Question:
    return Question("web", "shop", Imagined(**metrics))


async def test_a_batch_answers_each_question_as_if_it_were_alone() -> None:
    engine, _, clock = some_engine()
    async with loop_of(engine):
        for name, step in (("web", "15s"), ("api", "15s"), ("slow", "60s")):
            await engine.first(engine.declare(declared(name, step=step)))
        await tick(engine, clock, 2)
        rng = np.random.default_rng(1)
        questions = [
            Question(
                ("web", "api", "slow")[k % 3],
                "shop",
                Imagined(
                    float(rng.uniform(0, 2000)) if k % 2 else math.nan,
                    float(rng.uniform(0, 86_400)) if k % 5 else math.nan,
                    float(k % 7) if k % 3 else math.nan,
                    float(rng.uniform(60, 7200)) if k % 4 else math.nan,
                ),
            )
            for k in range(300)
        ] + [Question("web", None, NOTHING)]
        together = await answers(engine, questions)
        assert together == [await answer_one(engine, question) for question in questions]


async def test_nothing_imagined_is_the_posted_decision() -> None:
    engine, _, _ = some_engine()
    async with client_of(engine, "web") as client:
        posted = await (await client.get("/predict?service=web")).json()
        assert await (await client.post("/predict", json={"service": "web"})).json() == posted


async def test_the_load_imagined_scales_the_recent_past_even_from_zero() -> None:
    for load, now in ((daily, 1.0), (lambda t_s: 0.0 * t_s, 0.0)):
        engine, _, clock = some_engine(load)
        async with loop_of(engine):
            await engine.first(engine.declare(declared("web")))
            await tick(engine, clock)
            none, some, most = await answers(engine, [asked(load=x) for x in (0.0, 700.0, 1e15)])
        assert some.replicas >= 10
        assert none.replicas <= 1 + 20 * now
        assert most.replicas == 100_000
        assert all(map(math.isfinite, (*most.peak, *some.path, none.confidence)))


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"service": "web", "metrics": {"current_rps": "100"}}, "metrics.current_rps: Input should be a valid number"),
        ({"service": "web", "metrics": {"current_rps": True}}, "metrics.current_rps"),
        ({"service": "web", "metrics": {"day_of_week": "mo"}}, "day_of_week must be"),
        ({"service": "web", "metrics": {"time_of_day": 24.0}}, "time_of_day must be"),
        ({"service": 3}, "service: Input should be a valid string"),
        ([], "body: Input should be"),
    ],
)
def test_a_question_that_is_none_is_refused_by_name(body: object, says: str) -> None:
    with pytest.raises(RequestError, match=says):
        question_of(body)


def test_a_batch_has_one_to_a_thousand_items() -> None:
    for count, says in ((0, "at least 1 item"), (1001, "at most 1000 items")):
        with pytest.raises(RequestError, match=f"requests: .*{says}"):
            batch_of({"requests": [{"service": "web"}] * count})


async def test_http_batches_answer_good_items_and_refuse_bad_ones_one_by_one() -> None:
    engine, _, _ = some_engine()
    async with client_of(engine, "web") as client:
        items = [
            {"service": "web"},
            {"service": "wep"},
            {"nothing": 1},
            None,
            {"service": "web", "metrics": {"current_rps": 9}},
        ]
        answered = await client.post("/predict/batch", json={"requests": items})
        assert answered.status == 200
        said = (await answered.json())["predictions"]
        assert [one.get("status") for one in said] == [None, 404, 400, 400, None]
        assert said[0] == await (await client.get("/predict?service=web")).json()
        assert said[4] == await (await client.post("/predict", json=items[4])).json()
        assert (await client.post("/predict/batch", data="[]")).status == 400
        assert (await client.post("/predict/batch", data=io.BytesIO(b" " * 1_100_000))).status == 413


async def test_grpc_answers_as_http_does() -> None:
    engine, _, _ = some_engine()
    async with client_of(engine, "web") as client, door_of(engine) as (_, channel):
        stub = PredictionStub(channel)
        metrics = {"current_rps": 900.0, "time_of_day": "14:30", "day_of_week": "monday"}
        body = {"service": "web", "metrics": metrics, "prediction_window_minutes": 15}
        http = await (await client.post("/predict", json=body)).json()
        request = pb.PredictRequest(service="web", metrics=pb.Metrics(**metrics), prediction_window_minutes=15)
        ours = await stub.Predict(request)
        assert (ours.service, ours.predicted_replicas, ours.mode) == ("web", http["predicted_replicas"], http["mode"])
        assert ours.model_version == http["model_version"]
        assert ours.confidence == pytest.approx(http["confidence"], rel=1e-5)
        said = {f"{level:g}": peak for level, peak in zip(ours.levels, ours.peak, strict=True)}
        assert said == pytest.approx(http["forecast"]["peak"], rel=1e-5)

        batch = await stub.PredictBatch(pb.PredictBatchRequest(requests=[request, pb.PredictRequest(service="wep")]))
        assert batch.results[0].prediction == ours
        assert batch.results[1].refusal.code == grpc.StatusCode.NOT_FOUND.value[0]

        told = await (await client.get("/v1/workloads/shop/web/forecast")).json()
        forecast = await stub.GetForecast(pb.GetForecastRequest(service="web", namespace="shop"))
        assert (forecast.t, forecast.model_version) == (told["t"], told["model_version"])
        assert forecast.confidence == pytest.approx(told["confidence"], rel=1e-5)
        assert [m.t for m in forecast.path] == [m["t"] for m in told["path"]]


ENDLESS = pb.PredictRequest(service="web", metrics=pb.Metrics(current_rps=math.inf))
TOO_MANY = pb.PredictBatchRequest(requests=[pb.PredictRequest()] * 1001)


@pytest.mark.parametrize(
    ("call", "request_", "code"),
    [
        ("Predict", pb.PredictRequest(service="wep"), grpc.StatusCode.NOT_FOUND),
        ("Predict", pb.PredictRequest(), grpc.StatusCode.INVALID_ARGUMENT),
        ("Predict", ENDLESS, grpc.StatusCode.INVALID_ARGUMENT),
        ("PredictBatch", pb.PredictBatchRequest(), grpc.StatusCode.INVALID_ARGUMENT),
        ("PredictBatch", TOO_MANY, grpc.StatusCode.INVALID_ARGUMENT),
        ("GetForecast", pb.GetForecastRequest(service="wep"), grpc.StatusCode.NOT_FOUND),
    ],
)  # fmt: skip
async def test_grpc_refuses_with_a_status(call: str, request_: object, code: grpc.StatusCode) -> None:
    engine, _, _ = some_engine()
    async with door_of(engine) as (_, channel):
        await engine.first(engine.declare(declared("web")))
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await getattr(PredictionStub(channel), call)(request_)
    assert failure.value.code() is code


async def test_a_newcomer_in_a_batch_is_waited_for_and_an_unknown_one_is_not() -> None:
    engine, _, _ = some_engine()
    async with loop_of(engine):
        engine.declare(declared("web"))
        said = await anext(answer(engine, [Question("web", None, NOTHING), Question("wep", None, NOTHING)]))
    assert isinstance(said[0], Prediction)
    assert isinstance(said[1], UnknownWorkload)
