"""The command `foresail`; the only place where objects are wired together."""

import asyncio
import signal
import sys
from collections.abc import Callable
from typing import Any

import click

from scaler import __version__
from scaler.errors import ForesailError
from scaler.settings import Settings, load_settings

CONTEXT = {"help_option_names": ["-h", "--help"]}


@click.group(context_settings=CONTEXT)
@click.version_option(__version__, prog_name="foresail")
def main() -> None:
    """Predictive autoscaling for KEDA: answers with the replicas needed when a pod started now is ready."""


@main.command()
def pipe() -> None:
    """Decide line by line: a workload, then observations as JSON on stdin; decisions as JSON on stdout."""
    from scaler.pipe import run  # noqa: PLC0415 - keeps the other commands free of NumPy

    sys.exit(run(sys.stdin, sys.stdout, sys.stderr))


def _settings_options(command: Callable[..., None]) -> Callable[..., None]:
    """One flag and one environment variable per setting."""
    for name, field in reversed(Settings.model_fields.items()):
        shown = f"{field.description}  [default: {field.default}]"
        command = click.option(f"--{name.replace('_', '-')}", name, envvar=f"FORESAIL_{name.upper()}", help=shown)(
            command
        )
    return command


@main.command()
@click.option("--demo", is_flag=True, help="Serve demo workloads with a generated past and a simulated HPA.")
@_settings_options
def serve(*, demo: bool, **given: Any) -> None:
    """Answer KEDA over gRPC and HTTP."""
    try:
        settings = load_settings(given)
        asyncio.run(_serve(settings, demo=demo))
    except ForesailError as error:
        raise click.ClickException(str(error)) from error


async def _serve(settings: Settings, *, demo: bool) -> None:
    """Open both doors, run the loop until SIGINT or SIGTERM, then drain."""
    import structlog  # noqa: PLC0415 - what serving needs is loaded when serving
    from aiohttp import web  # noqa: PLC0415

    from scaler.demo import DemoCluster, demo_source, demo_workloads  # noqa: PLC0415
    from scaler.engine import Engine, NoCluster  # noqa: PLC0415
    from scaler.replay import Replay  # noqa: PLC0415
    from scaler.servicer import GrpcDoor  # noqa: PLC0415
    from scaler.telemetry import registry_of, set_up_logging  # noqa: PLC0415
    from scaler.web import application  # noqa: PLC0415

    set_up_logging(settings.log_level, settings.log_format)
    log = structlog.get_logger("foresail")
    workloads = demo_workloads() if demo else []
    cluster = DemoCluster(workloads) if demo else NoCluster()
    engine = Engine(settings, demo_source() if demo else Replay({}, 15.0), cluster)
    if isinstance(cluster, DemoCluster):
        cluster.board = engine.board
    for workload in workloads:
        engine.declare(workload)

    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    door = GrpcDoor(engine)
    runner = web.AppRunner(application(engine, registry_of(engine)), access_log=None, shutdown_timeout=settings.drain_s)
    await runner.setup()
    host, _, port = settings.http_listen.rpartition(":")
    loop = asyncio.create_task(engine.run())
    try:
        await web.TCPSite(runner, host.strip("[]"), int(port)).start()
        await door.open(settings.grpc_listen)
        log.info("serving", grpc=settings.grpc_listen, http=f"http://{settings.http_listen}", workloads=len(workloads))
        stopped = asyncio.create_task(stopping.wait())
        await asyncio.wait({loop, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        log.info("draining", seconds=settings.drain_s)
    finally:
        await door.close(settings.drain_s)
        await runner.cleanup()
        loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)
