"""The command `foresail`; the only place where objects are wired together."""

import asyncio
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from scaler import __version__
from scaler.errors import ForesailError
from scaler.settings import Settings, load_settings

if TYPE_CHECKING:
    from aiohttp import web

    from scaler.engine import Engine
    from scaler.push import PushedLoad
    from scaler.servicer import GrpcDoor

CONTEXT = {"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "FORESAIL"}


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

    from scaler.push import PushedLoad  # noqa: PLC0415
    from scaler.telemetry import set_up_logging  # noqa: PLC0415

    set_up_logging(settings.log_level, settings.log_format)
    log = structlog.get_logger("foresail")
    pushed = PushedLoad(settings.var / "pushed")
    engine = _engine(settings, pushed, demo=demo)
    runner, http, door = _doors(settings, engine, pushed)
    pushed.load()
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    await runner.setup()
    running = [asyncio.create_task(engine.run()), asyncio.create_task(pushed.run())]
    try:
        await http().start()
        await door.open(settings.grpc_listen)
        scheme = "http" if settings.tls_cert is None else "https"
        log.info("serving", grpc=settings.grpc_listen, http=f"{scheme}://{settings.http_listen}")
        stopped = asyncio.create_task(stopping.wait())
        await asyncio.wait({*running, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        log.info("draining", seconds=settings.drain_s)
    finally:
        await door.close(settings.drain_s)
        await runner.cleanup()
        for task in running:
            task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


def _engine(settings: Settings, pushed: "PushedLoad", *, demo: bool) -> "Engine":
    """The loop and where it reads; with the demo's workloads declared, if they are wanted."""
    from scaler.demo import DemoCluster, demo_source, demo_workloads  # noqa: PLC0415
    from scaler.engine import Engine, NoCluster  # noqa: PLC0415
    from scaler.sources import Replicas, Sources  # noqa: PLC0415

    workloads = demo_workloads() if demo else []
    cluster = DemoCluster(workloads) if demo else NoCluster()
    engine = Engine(settings, Sources(pushed, demo_source() if demo else None), Replicas(cluster, pushed))
    if isinstance(cluster, DemoCluster):
        cluster.board = engine.board
    for workload in workloads:
        engine.declare(workload)
    return engine


def _doors(
    settings: Settings, engine: "Engine", pushed: "PushedLoad"
) -> tuple["web.AppRunner", "Callable[[], web.TCPSite]", "GrpcDoor"]:
    """Both doors, closed: HTTP's runner and what it listens with once it is set up, and gRPC's."""
    from aiohttp import web  # noqa: PLC0415

    from scaler.access import Access, Token, is_loopback  # noqa: PLC0415
    from scaler.servicer import GrpcDoor  # noqa: PLC0415
    from scaler.telemetry import registry_of  # noqa: PLC0415
    from scaler.tls import TlsFiles  # noqa: PLC0415
    from scaler.web import application  # noqa: PLC0415

    host, _, port = settings.http_listen.rpartition(":")
    token = None if settings.http_token_file is None else Token(settings.http_token_file)
    tls = None
    if settings.tls_cert is not None and settings.tls_key is not None:
        tls = TlsFiles(settings.tls_cert, settings.tls_key, settings.tls_client_ca)
    names = frozenset(settings.tls_client_names)
    routes = application(engine, registry_of(engine), pushed, Access(token, loopback=is_loopback(host)), names)
    runner = web.AppRunner(routes, access_log=None, shutdown_timeout=settings.drain_s)
    context = None if tls is None else tls.http_context()
    return (
        runner,
        lambda: web.TCPSite(runner, host.strip("[]"), int(port), ssl_context=context),
        GrpcDoor(engine, tls, names),
    )
