"""Load from a Prometheus: what counts as missing, and what each misbehaviour is called."""

import asyncio
import contextlib
from pathlib import Path

import numpy as np
import pytest
from aiohttp import web

from scaler.core.signals import Signal
from scaler.errors import SourceError, TriggerError
from tests.fake_prometheus import FakePrometheus, asking, html, read, server, source_of, unprocessable
from tests.fakes import WEDNESDAY_S
from tests.service import declared


async def too_much(request: web.Request) -> web.StreamResponse:
    """Ten million points, or as many as are read."""
    answer = web.StreamResponse()
    await answer.prepare(request)
    with contextlib.suppress(ConnectionError):
        for _ in range(10_000):
            await answer.write(b'[1789516800,"1"],' * 1_000)
    return answer


async def bomb(request: web.Request) -> web.StreamResponse:
    """Little on the wire, much of it unpacked."""
    answer = web.Response(body=b" " * 5_000_000)
    answer.enable_compression(web.ContentCoding.gzip)
    del request
    return answer


async def half(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"Content-Length": "1000"})
    await answer.prepare(request)
    await answer.write(b'{"status": "success", "data": {"resultTy')
    assert request.transport is not None
    request.transport.close()
    return answer


async def elsewhere(request: web.Request) -> web.StreamResponse:
    assert "secret" not in request.path
    raise web.HTTPFound("http://169.254.169.254/secret")


def status(code: int, text: str) -> web.Response:
    return web.Response(status=code, text=text)


async def unauthorized(request: web.Request) -> web.StreamResponse:
    del request
    return status(401, "no org id")


async def no_tenant(request: web.Request) -> web.StreamResponse:
    del request
    return status(404, "404 page not found")


async def slow(request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(5)
    return await html(request)


async def trickling(request: web.Request) -> web.StreamResponse:
    """A byte now and then: each read is quick, the answer is not."""
    answer = web.StreamResponse()
    await answer.prepare(request)
    with contextlib.suppress(ConnectionError):
        for _ in range(100):
            await answer.write(b" ")
            await asyncio.sleep(0.05)
    return answer


@pytest.mark.parametrize(
    ("misbehave", "reason"),
    [
        (html, "answer is not JSON: <html>Sign in"),
        (unprocessable, r"status 422: query timed out in expression$"),
        (too_much, "larger than 0.0953674 MiB"),
        (bomb, "larger than 0.0953674 MiB"),
        (half, "the answer broke off"),
        (elsewhere, "redirects to http://169.254.169.254/secret, which is not followed"),
        (unauthorized, r"refuses the credentials of the settings \(401\): no org id"),
        (no_tenant, r"no such tenant \(404\): 404 page not found"),
        (slow, r"no answer within 0\.3 s"),
        (trickling, r"no answer within 0\.3 s"),
    ],
)
async def test_misbehaviour_is_an_error_that_names_the_address_and_the_reason(
    fake: FakePrometheus, misbehave: object, reason: str
) -> None:
    fake.misbehave = misbehave  # type: ignore[assignment]
    with pytest.raises(SourceError, match=f"^{fake.url}: .*{reason}"):
        await read(fake, timeout_s=0.3)


async def test_the_triggers_own_timeout_may_only_shorten(fake: FakePrometheus) -> None:
    fake.misbehave = slow
    with pytest.raises(SourceError, match=r"within 0\.2 s"):
        await read(fake, asking(fake, timeout="200"))
    with pytest.raises(SourceError, match=r"within 0\.3 s"):
        await read(fake, asking(fake, timeout="60s"), timeout_s=0.3)


async def test_a_server_that_is_down_is_named() -> None:
    with pytest.raises(SourceError, match=r"cannot be asked: .*127\.0\.0\.1"):
        await read(FakePrometheus())


async def test_a_server_that_hangs_up_is_named(fake: FakePrometheus) -> None:
    async def hang_up(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    fake.misbehave = hang_up
    with pytest.raises(SourceError, match="cannot be asked"):
        await read(fake)


@pytest.mark.parametrize("extra", [{"warnings": ["store gateway unavailable"]}, {"isPartial": True}])
async def test_partial_answers_count_as_missing(fake: FakePrometheus, extra: dict[str, object]) -> None:
    fake.extra = extra
    with pytest.raises(SourceError, match="incomplete"):
        await read(fake)


async def test_several_series_are_refused_and_none_is_missing(fake: FakePrometheus) -> None:
    fake.n_series = 2
    with pytest.raises(SourceError, match=r"2 series; a total is needed"):
        await read(fake)
    fake.n_series = 0
    assert np.isnan((await read(fake)).mean).all()


async def test_one_bad_chunk_is_the_answer_of_the_whole_history(fake: FakePrometheus) -> None:
    async def sometimes(request: web.Request) -> web.StreamResponse:
        fake.misbehave = None
        return await unprocessable(request)

    fake.misbehave = sometimes
    async with source_of(server(fake)) as source:
        with pytest.raises(SourceError, match="422"):
            await source.read(asking(fake), Signal.LOAD, WEDNESDAY_S, 11_520, 60.0)


@pytest.mark.parametrize("text", ["", "two\nlines"])
async def test_a_token_file_that_holds_no_token_is_named(fake: FakePrometheus, tmp_path: Path, text: str) -> None:
    (tmp_path / "token").write_text(text)
    with pytest.raises(SourceError, match="token must hold one line"):
        await read(fake, bearer_token_file=tmp_path / "token")
    with pytest.raises(SourceError, match=r"No such file.*absent"):
        await read(fake, bearer_token_file=tmp_path / "absent")
    assert fake.asked == []


async def test_what_the_settings_do_not_allow_is_never_asked(fake: FakePrometheus) -> None:
    async with source_of(server(fake)) as source:
        with pytest.raises(SourceError, match="is not allowed"):
            await source.read(declared("web", serverAddress="http://127.0.0.1:1", query="up"), Signal.LOAD, 0, 1, 15.0)
        source.replace_servers([])
        with pytest.raises(SourceError, match=r"is not allowed.*no server"):
            await source.read(asking(fake), Signal.LOAD, WEDNESDAY_S, 1, 15.0)
        with pytest.raises(TriggerError, match="is not allowed"):
            source.admit(asking(fake))
        source.replace_servers([server(fake)])
        source.admit(asking(fake))
        await source.read(asking(fake), Signal.LOAD, WEDNESDAY_S, 1, 15.0)
    assert len(fake.asked) == 1


async def test_what_was_asked_is_counted_by_server(fake: FakePrometheus) -> None:
    async with source_of(server(fake)) as source:
        await source.read(asking(fake), Signal.LOAD, WEDNESDAY_S, 1, 15.0)
        fake.misbehave = html
        with pytest.raises(SourceError):
            await source.read(asking(fake), Signal.LOAD, WEDNESDAY_S, 1, 15.0)
        [(url, exchange)] = source.exchanges.items()
    assert (url, exchange.queries, exchange.failures) == (fake.url, 2, 1)
    assert exchange.seconds > 0
    assert exchange.read_bytes > 50
