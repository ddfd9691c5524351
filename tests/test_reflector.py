"""A reflector knows what the server knows, through cuts, 410, refusals and restarts."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from scaler.cluster import SCALED_OBJECTS, KubernetesApi, connect
from scaler.reflector import Patience, Reflector
from tests.fake_kubernetes import FakeKubernetes, scaled_object, serving

QUICK = Patience(first_s=0.01, most_s=0.05, refused_s=0.1)


def kubeconfig(fake: FakeKubernetes, folder: Path) -> Path:
    path = folder / "kubeconfig"
    path.write_text(f"""
apiVersion: v1
kind: Config
current-context: there
contexts: [{{name: there, context: {{cluster: there, user: me, namespace: foresail}}}}]
clusters: [{{name: there, cluster: {{server: "{fake.url}"}}}}]
users: [{{name: me, user: {{token: secret}}}}]
""")
    return path


@asynccontextmanager
async def connected(fake: FakeKubernetes, folder: Path) -> AsyncIterator[KubernetesApi]:
    api = await connect(kubeconfig(fake, folder))
    assert api is not None
    try:
        yield api
    finally:
        await api.close()


@asynccontextmanager
async def following(fake: FakeKubernetes, folder: Path, **options: Any) -> AsyncIterator[Reflector[int]]:
    async with connected(fake, folder) as api:
        reflector = Reflector(
            api, SCALED_OBJECTS, lambda item: int(item["spec"]["maxReplicaCount"]), patience=QUICK, **options
        )
        task = asyncio.create_task(reflector.run())
        try:
            await until(lambda: reflector.trouble != "not read yet")
            yield reflector
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def until(fact: Callable[[], bool], within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not fact():
            await asyncio.sleep(0.005)


async def test_what_exists_is_listed_in_pages_and_what_changes_is_followed(tmp_path: Path) -> None:
    async with serving() as fake:
        for number in range(600):
            fake.put("scaledobjects", scaled_object(f"w{number}"))
        async with following(fake, tmp_path) as reflector:
            assert len(reflector.seen) == 600
            assert fake.asked["scaledobjects", "list"] == 6
            fake.put("scaledobjects", scaled_object("w7", spec={"maxReplicaCount": 9}))
            fake.delete("scaledobjects", "shop", "w8")
            fake.put("scaledobjects", scaled_object("new"))
            await until(lambda: ("shop", "new") in reflector.seen)
            assert reflector.seen["shop", "w7"] == 9
            assert ("shop", "w8") not in reflector.seen
            assert fake.asked["scaledobjects", "watch"] == 1


@pytest.mark.parametrize("piece", [1, 7, 100])
async def test_an_event_in_pieces_is_one_event(tmp_path: Path, piece: int) -> None:
    async with serving() as fake:
        fake.piece = piece
        async with following(fake, tmp_path) as reflector:
            fake.put("scaledobjects", scaled_object("web", spec={"maxReplicaCount": 9}))
            await until(lambda: bool(reflector.seen))
            assert reflector.seen == {("shop", "web"): 9}


async def test_a_cut_in_the_middle_of_an_event_loses_nothing_and_lists_nothing_again(tmp_path: Path) -> None:
    async with serving() as fake, following(fake, tmp_path) as reflector:
        await until(lambda: bool(fake.watches["scaledobjects"]))
        fake.put("scaledobjects", scaled_object("one"))
        await until(lambda: bool(reflector.seen))
        fake.cut("scaledobjects", rest=b'{"type":"MODIFIED","object":{"metadata":{"na')
        fake.put("scaledobjects", scaled_object("two"))
        await until(lambda: ("shop", "two") in reflector.seen)
        assert fake.asked["scaledobjects", "list"] == 1
        assert fake.asked["scaledobjects", "watch"] == 2


async def test_an_end_by_the_server_goes_on_from_the_last_bookmark(tmp_path: Path) -> None:
    async with serving() as fake, following(fake, tmp_path) as reflector:
        await until(lambda: bool(fake.watches["scaledobjects"]))
        fake.version += 50  # other kinds moved on
        fake.bookmark("scaledobjects")
        await asyncio.sleep(0.05)
        fake.compact("scaledobjects")
        fake.end_watches("scaledobjects")
        await until(lambda: fake.asked["scaledobjects", "watch"] == 2)
        fake.put("scaledobjects", scaled_object("two"))
        await until(lambda: ("shop", "two") in reflector.seen)
        assert fake.asked["scaledobjects", "list"] == 1


async def test_410_lists_again_and_tells_what_changed_meanwhile(tmp_path: Path) -> None:
    told: list[tuple[str, Any, Any]] = []
    async with serving() as fake:
        fake.put("scaledobjects", scaled_object("one"))
        fake.put("scaledobjects", scaled_object("two"))
        async with following(
            fake, tmp_path, changed=lambda name, was, now: told.append((name[1], was, now))
        ) as reflector:
            await until(lambda: bool(fake.watches["scaledobjects"]))
            await fake.stop()
            fake.delete("scaledobjects", "shop", "one")
            fake.put("scaledobjects", scaled_object("two", spec={"maxReplicaCount": 9}))
            fake.compact("scaledobjects")
            await fake.start()
            await until(lambda: reflector.seen == {("shop", "two"): 9})
            assert told[-2:] in ([("one", 50, None), ("two", 50, 9)], [("two", 50, 9), ("one", 50, None)])
            assert fake.asked["scaledobjects", "list"] == 2


async def test_an_event_that_is_none_lists_again(tmp_path: Path) -> None:
    async with serving() as fake, following(fake, tmp_path) as reflector:
        await until(lambda: bool(fake.watches["scaledobjects"]))
        fake.send_raw("scaledobjects", b"<html>\n")
        await until(lambda: fake.asked["scaledobjects", "list"] == 2)
        await until(lambda: reflector.trouble is None)


async def test_an_object_that_cannot_be_understood_hides_no_other(tmp_path: Path) -> None:
    async with serving() as fake:
        fake.put("scaledobjects", scaled_object("odd", spec={"maxReplicaCount": "many"}))
        fake.put("scaledobjects", scaled_object("web"))
        async with following(fake, tmp_path) as reflector:
            assert reflector.seen == {("shop", "web"): 50}


async def test_what_is_forbidden_says_so_and_works_once_it_is_granted(tmp_path: Path) -> None:
    async with serving() as fake:
        fake.forbidden.add("scaledobjects")
        async with following(fake, tmp_path) as reflector:
            assert reflector.trouble is not None
            assert "403" in reflector.trouble
            assert 'cannot list resource "scaledobjects"' in reflector.trouble
            fake.put("scaledobjects", scaled_object("web"))
            fake.forbidden.clear()
            await until(lambda: reflector.trouble is None)
            assert reflector.seen == {("shop", "web"): 50}


async def test_a_list_without_the_right_to_watch_keeps_what_was_listed(tmp_path: Path) -> None:
    async with serving() as fake:
        fake.put("scaledobjects", scaled_object("web"))
        fake.forbidden.add(("scaledobjects", "watch"))
        async with following(fake, tmp_path) as reflector:
            await until(lambda: reflector.trouble is not None)
            assert "watch" in str(reflector.trouble)
            assert reflector.seen == {("shop", "web"): 50}


async def test_a_server_that_asks_to_wait_is_waited_for(tmp_path: Path) -> None:
    async with serving() as fake:
        fake.errors = [(429, {"Retry-After": "1"})]
        async with following(fake, tmp_path) as reflector:
            begun = asyncio.get_running_loop().time()
            await until(lambda: reflector.trouble is None)
            assert asyncio.get_running_loop().time() - begun > 0.9


async def test_slow_answers_are_waited_for(tmp_path: Path) -> None:
    async with serving() as fake:
        fake.slow_s = 0.3
        fake.put("scaledobjects", scaled_object("web"))
        async with following(fake, tmp_path) as reflector:
            assert reflector.seen == {("shop", "web"): 50}


async def test_what_a_watch_lost_comes_back_with_the_next_list(tmp_path: Path) -> None:
    async with serving() as fake, connected(fake, tmp_path) as api:
        fake.put("scaledobjects", scaled_object("lost"))
        patience = Patience(first_s=0.01, most_s=0.05, relist_s=0.05)
        reflector = Reflector(api, SCALED_OBJECTS, lambda item: str(item["metadata"]["name"]), patience=patience)
        task = asyncio.create_task(reflector.run())
        await until(lambda: bool(fake.watches["scaledobjects"]))
        del fake.objects["scaledobjects"]["shop", "lost"]  # and no event says so
        await asyncio.sleep(0.1)
        fake.end_watches("scaledobjects")
        await until(lambda: not reflector.seen)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
