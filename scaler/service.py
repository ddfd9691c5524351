"""The running service: sources, engine and both doors wired together, from start to drain."""

import asyncio
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry

from scaler import agent_card, grafana
from scaler.access import Access, Token, is_loopback
from scaler.archive import Archive
from scaler.capacities import Capacities
from scaler.chores import Chores
from scaler.cluster import connect
from scaler.config import File, watch
from scaler.curves import Curves
from scaler.demo import DemoCluster, demo_source, demo_workloads
from scaler.engine import Engine
from scaler.errors import ForesailError, SettingsError
from scaler.feed import Feed
from scaler.journal import Journal, Limits
from scaler.live_cluster import LiveCluster
from scaler.model_place import opened
from scaler.page import Page
from scaler.prometheus import PrometheusSource
from scaler.push import PushedLoad
from scaler.rehearsal import Rehearsal
from scaler.servicer import GrpcDoor
from scaler.settings import Settings
from scaler.sources import NoCluster, Replicas, Sources
from scaler.steering_file import SteeringFile
from scaler.telemetry import ClusterCollector, EngineCollector, SourceCollector, registry_of, set_up_logging
from scaler.tls import TlsFiles
from scaler.web import Pen, application

log = structlog.get_logger("foresail")


async def serve(settings: Settings, file: File | None, *, demo: bool) -> None:
    """Open both doors, run the loop until SIGINT or SIGTERM, then drain.

    Raises:
        SettingsError: a file that the settings name cannot be used.
        AgentFolderError: the folder of the agent holds none that could be used.
        StoreError: another process keeps its pushed load in the same folder.
    """
    set_up_logging(settings.log_level, settings.log_format)
    pushed = PushedLoad(settings.var / "pushed")
    pushed.claim()
    queried = PrometheusSource(() if file is None else file.servers)
    api = None if demo else await connect(settings.kubeconfig)
    live = None if api is None else LiveCluster(api)
    shown = DemoCluster(demo_workloads()) if demo else None
    by_hand = SteeringFile(settings.var)
    replicas = Replicas(live or shown or NoCluster(), pushed, None if live else by_hand)
    engine = _engine(settings, Sources(pushed, demo_source() if demo else None, queried), replicas, shown)
    chores = Chores(engine, live or by_hand, live, Capacities(engine, None if live else settings.var))
    if file is not None:
        apply(file, engine, queried)
    collectors = (EngineCollector(engine), SourceCollector(queried, pushed), ClusterCollector(engine, live, chores))
    seen = Seen(registry_of(*collectors), Feed(engine, live or by_hand), live or by_hand, demo)
    runner, http, door = _doors(settings, engine, pushed, seen)
    pushed.load()
    await runner.setup()
    running = _start(engine, engine.journal, pushed, chores, seen.feed, live, Rehearsal(engine) if demo else None)
    if settings.config is not None:
        running.append(asyncio.create_task(watch(settings.config, lambda new: apply(new, engine, queried))))
    try:
        await http().start()
        await door.open(settings.grpc_listen)
        scheme = "http" if settings.tls_cert is None else "https"
        log.info("serving", grpc=settings.grpc_listen, http=f"{scheme}://{settings.http_listen}")
        await _until_stopped(running)
        log.info("draining", seconds=settings.drain_s)
    finally:
        await door.close(settings.drain_s)
        await runner.cleanup()
        await _end(running)
        await queried.close()
        if api is not None:
            await api.close()


class Runs(Protocol):
    """Something that goes on beside the others."""

    async def run(self) -> None:
        """Run until cancelled."""
        ...


def _start(*parts: Runs | None) -> list[asyncio.Task[None]]:
    return [asyncio.create_task(part.run()) for part in parts if part is not None]


async def _end(running: list[asyncio.Task[None]]) -> None:
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


def apply(file: File, engine: Engine, queried: PrometheusSource) -> None:
    """Put a file's servers, calendars and workloads in force, or none of them.

    Raises:
        SettingsError: a workload that the file's own servers do not admit, or too many of them.
    """
    workloads, before, agendas = file.declared(), queried.servers, engine.agendas
    queried.replace_servers(file.servers)
    engine.schedule(file.agendas())
    try:
        for workload in workloads:
            queried.admit(workload)
        engine.redeclare(workloads)
    except ForesailError as error:
        queried.replace_servers(before)
        engine.schedule(agendas)
        raise SettingsError(str(error)) from error


async def _until_stopped(running: list[asyncio.Task[None]]) -> None:
    """Wait for a signal; a task that ends by itself ends the service with its error."""
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    stopped = asyncio.create_task(stopping.wait())
    done, _ = await asyncio.wait({*running, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    for task in done - {stopped}:
        task.result()


def _engine(settings: Settings, sources: Sources, replicas: Replicas, shown: DemoCluster | None) -> Engine:
    """The loop, where it reads and what it keeps; with the demo's workloads declared, if they are wanted."""
    journal = Journal(settings.var / "journal.sqlite", Limits(settings.journal_days, settings.journal_mb * 2**20))
    models = Archive(opened(settings.registry, settings.var))
    engine = Engine(settings, sources, replicas, time.time, journal, models)
    if settings.agent is not None:
        engine.in_force = agent_card.in_force(settings.agent, acts=settings.agent_acts)
    if shown is not None:
        shown.board = engine.board
        for workload in demo_workloads():
            engine.declare(workload)
    return engine


@dataclass(frozen=True, slots=True)
class Seen:
    """What people look at and steer by."""

    registry: CollectorRegistry
    feed: Feed
    pen: Pen
    demo: bool


def _doors(
    settings: Settings, engine: Engine, pushed: PushedLoad, seen: Seen
) -> tuple[web.AppRunner, Callable[[], web.TCPSite], GrpcDoor]:
    """Both doors, closed: HTTP's runner and what it listens with once it is set up, and gRPC's."""
    host, _, port = settings.http_listen.rpartition(":")
    token = None if settings.http_token_file is None else Token(settings.http_token_file)
    tls = None
    if settings.tls_cert is not None and settings.tls_key is not None:
        tls = TlsFiles(settings.tls_cert, settings.tls_key, settings.tls_client_ca)
    names = frozenset(settings.tls_client_names)
    access = Access(token, loopback=is_loopback(host))
    app = application(engine, seen.registry, pushed, access, names, seen.pen)
    page = Page(seen.feed, demo=seen.demo, token=token is not None)
    app.add_routes([*grafana.Door(engine, Curves(engine)).routes(), *page.routes()])
    app.on_shutdown.append(page.stop)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=settings.drain_s)
    context = None if tls is None else tls.http_context()
    return (
        runner,
        lambda: web.TCPSite(runner, host.strip("[]"), int(port), ssl_context=context),
        GrpcDoor(engine, tls, names),
    )
