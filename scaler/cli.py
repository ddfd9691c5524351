"""The command `foresail`; the only place where objects are wired together."""

import asyncio
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from scaler import __version__
from scaler.errors import ForesailError
from scaler.settings import Settings, load_settings

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


@main.command()
@click.argument("history", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--server", help="Prometheus server to read the history from, with --query.")
@click.option("--query", help="PromQL giving the total load as one series.")
@click.option("--days", type=float, help="Newest days of a server (default 14); first days of a file (default all).")
@click.option("--load", "load_file", type=click.Path(exists=True, path_type=Path), help="CSV for a ScaledObject YAML.")
@click.option("--lead", help="From asking for a replica to its serving, such as 300s.")
@click.option("--slo", type=click.FloatRange(0.5, 0.9999), help="Share of load to be met, such as 0.99.")
@click.option("--capacity", type=click.FloatRange(min=0, min_open=True), help="Load one replica can carry.")
@click.option(
    "--mean-replicas", type=click.FloatRange(min=1), help="Mean fleet (default 20) that a capacity follows from."
)
@click.option("--tolerance", type=click.FloatRange(0, 0.9), help="The HPA's tolerance (default 0.1).")
@click.option("--net", help="Second trigger beside every controller, such as cpu:0.9.")
@click.option("--noise", type=click.Choice(["multiplicative", "poisson", "none"]), default="multiplicative")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--controllers", help="Only these, separated by commas.")
@click.option("--price-per-replica-hour", type=click.FloatRange(min=0), help="Turns the verdict into money.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("backtest"), show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print result.json instead of the table.")
@click.option(
    "--suite", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Judge every CSV of a folder."
)
@click.option("--leads", "suite_leads", default="60,300,600", show_default=True, help="Lead times of a suite.")
def backtest(**options: Any) -> None:
    """Replay a load history: what would Foresail, the HPA and others have done, and does prediction pay?

    HISTORY is a CSV file (timestamp,value) or a ScaledObject's YAML; or give --server and --query; or --suite DIR.
    """
    from scaler.command_backtest import answer  # noqa: PLC0415 - keeps the other commands free of NumPy and plotly

    try:
        answer(options)
    except ForesailError as error:
        click.echo(f"foresail backtest: {error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        click.echo("foresail backtest: interrupted, nothing was written", err=True)
        sys.exit(130)
