"""`foresail retrain`: one workload by asking the service, or all of a file in a batch run."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from scaler import command_models, retrain
from scaler.config import read
from scaler.errors import FitFailed, RequestError
from scaler.lessons import Worker
from scaler.prometheus import PrometheusSource
from scaler.retrain import Progress
from scaler.settings import Settings, load_settings
from scaler.telemetry import set_up_logging


def answer(workload: str | None, engine: str, address: str | None, given: dict[str, Any]) -> list[str]:
    """Ask for one workload's fit, or run all; what to tell.

    Raises:
        ForesailError: it could not be asked for; or a fit failed, a history or the registry could not be read.
    """
    in_cluster = given.pop("in_cluster")
    stated = {name: value for name, value in given.items() if value is not None}
    if workload is not None:
        settings = load_settings(stated)
        options = {"var": settings.var, "kubeconfig": settings.kubeconfig, "in_cluster": in_cluster}
        return command_models.retrain(workload, options)
    if given["config"] is None:
        raise RequestError("--all needs --config: a YAML file with servers and workloads")
    file = read(Path(given["config"]))
    settings = load_settings({**file.settings, **stated})
    set_up_logging(settings.log_level, settings.log_format)
    with workers(engine, address, settings) as worker:
        last = asyncio.run(_run(settings, file, worker))
    if last.failed or last.unread or last.unwritten:
        raise FitFailed(str(last))
    return [str(last)]


async def _run(settings: Settings, file: Any, worker: Callable[[], Worker] | None) -> Progress:
    source = PrometheusSource(file.servers)
    last = Progress(0, 0, 0, 0, 0, 0, 0, 0)
    try:
        async for progress in retrain.run(settings, file, source, worker):
            if str(progress) != str(last):
                click.echo(str(progress), err=True)
            last = progress
    finally:
        await source.close()
    return last


@contextlib.contextmanager
def workers(engine: str, address: str | None, settings: Settings) -> Iterator[Callable[[], Worker] | None]:
    """What makes a worker: None for processes of this machine, else tasks of a Ray cluster, joined meanwhile."""
    if engine == "pool":
        yield None
        return
    try:
        from scaler.ray_worker import joined  # noqa: PLC0415 - an extra that starts daemons
    except ImportError as error:
        raise RequestError(f"--engine ray needs Ray: pip install 'foresail[ray]' ({error})") from error
    with joined(address, max(settings.fit_workers, 1)) as make:
        yield lambda: make(settings.fit_timeout_s, settings.fit_memory_mb)
