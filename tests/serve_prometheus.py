"""`python -m tests.serve_prometheus GRPC HTTP GIVEN`: the service over Prometheus servers, as a process to be killed.

GIVEN is JSON: `{"settings": {…}, "servers": […]}`.
"""

import asyncio
import json
import sys
from typing import Any

from aiohttp import web

from scaler.engine import Engine, NoCluster
from scaler.prometheus import PrometheusSource
from scaler.servers import Server
from scaler.servicer import GrpcDoor
from scaler.settings import load_settings
from scaler.telemetry import registry_of, set_up_logging
from scaler.web import application


async def main(grpc_port: int, http_port: int, given: dict[str, Any]) -> None:
    set_up_logging("info", "console")
    source = PrometheusSource([Server.model_validate(server) for server in given["servers"]])
    engine = Engine(load_settings(given["settings"]), source, NoCluster())
    runner = web.AppRunner(application(engine, registry_of(engine)), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", http_port).start()
    door = GrpcDoor(engine)
    await door.open(f"127.0.0.1:{grpc_port}")
    await engine.run()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])))
