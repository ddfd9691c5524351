"""`foresail override`: fix a workload's replicas or mode for a while, by its ScaledObject's annotation or a file."""

import asyncio
import getpass
import time
from pathlib import Path
from typing import Any

from scaler import steering_file
from scaler.cluster import SCALED_OBJECTS, KubernetesApi, connect
from scaler.core.domain import UNKNOWN, Mode
from scaler.core.steering import OVERRIDE, Override, override_of, stamp_of
from scaler.core.trigger import duration_s
from scaler.errors import ClusterError, RequestError
from scaler.kinds import scaled_of


def answer(workload: str, options: dict[str, Any]) -> list[str]:
    """Set or end an override; what to tell whoever asked.

    Raises:
        RequestError: what was asked cannot be understood.
        ClusterError, StoreError, SettingsError: it could not be written.
    """
    namespace, _, name = workload.rpartition("/")
    if not namespace or not name:
        raise RequestError(f"{workload!r}: a workload is namespace/name")
    override = None if options["end"] else _override(options, time.time())
    annotation = None if override is None else override.as_annotation()
    if options["var"] is not None:
        steering_file.annotate(Path(options["var"]), workload, {OVERRIDE: annotation})
        return [_said(workload, override)]
    usual = Path.home() / ".kube" / "config"
    kubeconfig = options["kubeconfig"] or (usual if usual.exists() else None)
    return asyncio.run(_annotated(namespace, name, override, kubeconfig))


def _override(options: dict[str, Any], now_s: float) -> Override:
    missing = [name for name, key in (("--for", "lasts"), ("--reason", "reason")) if options[key] is None]
    if (options["replicas"] is None) == (options["mode"] is None):
        missing.insert(0, "either --replicas or --mode")
    if missing:
        raise RequestError(f"{', '.join(missing)} must be given, or --end")
    try:
        lasts_s = duration_s(options["lasts"])
        begin_s = float(int(now_s))
        fixed = Mode[options["mode"].upper()] if options["replicas"] is None else options["replicas"]
        asked = Override(fixed, begin_s, begin_s + lasts_s, options["reason"], options["by"] or me())
        return override_of(asked.as_annotation())
    except ValueError as error:
        raise RequestError(str(error)) from error


def me() -> str:
    """Who runs this command."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


async def _annotated(namespace: str, name: str, override: Override | None, kubeconfig: Path | None) -> list[str]:
    api = await connect(kubeconfig)
    if api is None:
        raise RequestError("no cluster to write to: give --kubeconfig, or --var for a service without one")
    try:
        return await _written(api, namespace, name, override)
    finally:
        await api.close()


async def _written(api: KubernetesApi, namespace: str, name: str, override: Override | None) -> list[str]:
    try:
        scaled = scaled_of(await api.get(SCALED_OBJECTS, namespace, name))
    except (KeyError, TypeError, ValueError) as error:
        raise ClusterError(f"{namespace}/{name} is no ScaledObject that can be understood: {error!r}") from error
    annotation = None if override is None else override.as_annotation()
    await api.patch(SCALED_OBJECTS, namespace, name, {"metadata": {"annotations": {OVERRIDE: annotation}}})
    told = [_said(f"{namespace}/{name}", override)]
    if (
        override is not None
        and override.replicas != UNKNOWN
        and not (scaled.minimum <= override.replicas <= scaled.maximum)
    ):
        told.append(f"but its HPA keeps within {scaled.minimum} to {scaled.maximum} replicas")
    if override is not None and scaled.paused:
        told.append("but KEDA has paused it: nothing changes until that ends")
    return told


def _said(workload: str, override: Override | None) -> str:
    if override is None:
        return f"{workload}: no longer fixed by hand"
    return f"{workload}: {override.what} until {stamp_of(override.until_s)}"
