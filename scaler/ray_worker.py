"""Fits as tasks of a Ray cluster, for fleets beyond one machine: the door to ray.

The same functions with the same arguments as in a process beside the service, so the same models.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import ray
from ray.exceptions import RayError

from scaler.errors import FitFailed

ENVIRONMENT = {"env_vars": {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}}
"""A fit uses one core; what spins on others slows its neighbours."""


class RayWorker:
    """As `lessons.Worker`: one task at a time, somewhere in the cluster."""

    def __init__(self, timeout_s: float, memory_mb: int) -> None:
        self._timeout_s, self._memory = timeout_s, memory_mb * 2**20
        self._task: Any = None

    async def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call `function` in the cluster.

        Raises:
            FitFailed: it raised, took longer than allowed, or its process died.
        """
        remote = ray.remote(function).options(num_cpus=1, memory=self._memory, max_retries=0)
        self._task = remote.remote(*arguments)
        answer = asyncio.wrap_future(self._task.future())
        try:
            return await asyncio.wait_for(answer, self._timeout_s)
        except TimeoutError as error:
            self.close()
            raise FitFailed(f"the fit was ended after {self._timeout_s:g} s") from error
        except RayError as error:
            raise FitFailed(f"the fit failed: {error!r}") from error
        finally:
            self._task = None

    def close(self) -> None:
        """End the task under way."""
        if self._task is not None:
            ray.cancel(self._task, force=True)


@contextlib.contextmanager
def joined(address: str | None, n_workers: int) -> Iterator[Callable[[float, int], RayWorker]]:
    """Join a cluster, or start one of `n_workers` cores on this machine; left, or ended, at the end."""
    own = {} if address else {"num_cpus": n_workers, "include_dashboard": False}
    ray.init(address=address or "local", runtime_env=ENVIRONMENT, log_to_driver=False, logging_level="warning", **own)
    try:
        yield RayWorker
    finally:
        ray.shutdown()
