"""The fitting process: what it returns, and how it ends."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from scaler.errors import FitFailed
from scaler.fitting import FitWorker


async def test_a_worker_calls_in_another_process_and_is_reused() -> None:
    worker = FitWorker(30.0)
    pids = {await worker.run(os.getpid) for _ in range(2)}
    worker.close()
    assert len(pids) == 1
    assert pids != {os.getpid()}


async def test_a_fit_that_takes_too_long_is_ended_and_the_next_one_works() -> None:
    worker = FitWorker(0.2)
    with pytest.raises(FitFailed, match=r"ended after 0\.2 s"):
        await worker.run(time.sleep, 60)
    assert await worker.run(abs, -1) == 1
    worker.close()


async def test_a_worker_that_dies_is_replaced() -> None:
    worker = FitWorker(30.0)
    with pytest.raises(FitFailed, match="died"):
        await worker.run(os._exit, 1)
    assert await worker.run(abs, -1) == 1
    worker.close()


async def test_an_error_of_the_fit_is_told_and_the_worker_stays() -> None:
    worker = FitWorker(30.0)
    before = await worker.run(os.getpid)
    with pytest.raises(FitFailed, match="ZeroDivisionError"):
        await worker.run(divmod, 1, 0)
    assert await worker.run(os.getpid) == before
    worker.close()


def test_a_worker_ends_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import asyncio, os, time\n"
        "from scaler.fitting import FitWorker\n"
        "async def main():\n"
        "    print(await FitWorker(30.0).run(os.getpid), flush=True)\n"
        "    time.sleep(60)\n"
        "if __name__ == '__main__':\n"
        "    asyncio.run(main())\n"
    )
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 20
    while _runs(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(worker)


def _runs(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


async def test_closing_ends_a_fit_under_way() -> None:
    worker = FitWorker(60.0)
    pid = await worker.run(os.getpid)
    fit = asyncio.ensure_future(worker.run(time.sleep, 60))
    await asyncio.sleep(0.1)
    worker.close()
    with pytest.raises(FitFailed):
        await asyncio.wait_for(fit, 10)
    deadline = time.monotonic() + 10
    while _runs(pid) and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    assert not _runs(pid)


async def test_a_fit_that_wants_more_memory_than_it_may_have_is_refused_and_the_next_one_runs() -> None:
    worker = FitWorker(60.0, memory_mb=256)
    try:
        with pytest.raises(FitFailed, match=r"MemoryError|Unable to allocate"):
            await worker.run(np.ones, 10**8)
        assert (await worker.run(np.ones, 10**6)).sum() == 10**6
    finally:
        worker.close()
