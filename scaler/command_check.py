"""The command `foresail check`: options in, a scaler and its queries asked, findings out."""

import asyncio
from collections.abc import Mapping
from typing import Any

from scaler.check import Deployment, Finding, ask, bounds, judge, queries
from scaler.config import read
from scaler.core.trigger import parse_workload
from scaler.dial import client_tls
from scaler.errors import RequestError, SourceError, TriggerError


def answer(address: str, options: Mapping[str, Any]) -> list[Finding]:
    """All findings about the scaler at `address`.

    Raises:
        RequestError: options that cannot be understood, or a call that failed.
        SettingsError: the YAML file cannot be understood.
    """
    metadata = _metadata(options["metadata"])
    deployment = None
    if options["replicas"] is not None:
        deployment = Deployment(options["replicas"], options["minimum"], options["maximum"], options["tolerance"])
    tls = client_tls(options["tls_ca"], options["tls_cert"], options["tls_key"], options["tls_server_name"])
    found = list(judge(ask(address, options["namespace"], options["name"], metadata, tls), deployment))
    if "threshold" not in metadata:
        return found
    workload = parse_workload(metadata, name=options["name"], namespace=options["namespace"])
    if deployment is not None:
        found += bounds(workload, deployment)
    if workload.server_address is not None:
        servers = read(options["config"]).servers if options["config"] is not None else ()
        try:
            found += asyncio.run(queries(workload, servers, options["replicas_query"]))
        except (SourceError, TriggerError) as error:
            found.append(Finding(ok=False, text=f"query: {error}"))
    return found


def _metadata(pairs: tuple[str, ...]) -> dict[str, str]:
    split = [pair.partition("=") for pair in pairs]
    wrong = [key for key, equals, _ in split if not equals]
    if wrong:
        raise RequestError(f"--metadata must be KEY=VALUE, not {wrong[0]!r}")
    return {key: value for key, _, value in split}
