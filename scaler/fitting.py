"""Fits in worker processes of their own: they never delay a tick, and one that takes too long is ended."""

import asyncio
import contextlib
import importlib
import multiprocessing
import os
import resource
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, TypeVar

from scaler.errors import FitFailed

Result = TypeVar("Result")


def _begin(memory_mb: int) -> None:
    """Leave the processor to the service and Ctrl-C to the parent, and end with the parent, however it ends."""
    os.nice(10)
    importlib.import_module("scaler.core.retraining")
    own = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_DATA, (own + memory_mb * 2**20, resource.RLIM_INFINITY))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


class FitWorker:
    """One process that fits; replaced when it had to be ended."""

    def __init__(self, timeout_s: float, memory_mb: int = 1024) -> None:
        self._timeout_s, self._memory_mb = timeout_s, memory_mb
        self._pool: ProcessPoolExecutor | None = None
        self._pid, self._fitting = 0, False

    async def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call `function` in the worker.

        Raises:
            FitFailed: it raised, took longer than allowed, or the worker died.
        """
        if self._pool is None:
            self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _begin, (self._memory_mb,))
        loop = asyncio.get_running_loop()
        try:
            self._pid = await loop.run_in_executor(self._pool, os.getpid)
            self._fitting = True
            call = loop.run_in_executor(self._pool, function, *arguments)
            if not (await asyncio.wait([call], timeout=self._timeout_s))[0]:
                os.kill(self._pid, signal.SIGKILL)
            result = await call
        except BrokenProcessPool as error:
            self._fitting = False
            self.close()
            raise FitFailed(f"the fitting process died, or was ended after {self._timeout_s:g} s") from error
        except Exception as error:  # whatever a fit raises in the other process: the service goes on without it
            self._fitting = False
            raise FitFailed(f"the fit failed: {error!r}") from error
        self._fitting = False
        return result

    def close(self) -> None:
        """End the worker; a fit under way is not waited for, else it would hold up the end of the whole process."""
        if self._pool is not None:
            if self._fitting:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._pid, signal.SIGKILL)
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None
