"""Who of several replicas does the chores: the holder of a Lease, renewed while it lives.

Whoever finds the record unchanged for its whole length, by its own clock, takes it over; so clocks need not agree.
"""

import asyncio
import os
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import structlog

from scaler.cluster import LEASES, KubernetesApi, Object
from scaler.errors import ClusterError

log = structlog.get_logger("foresail.cluster")

NAME = "foresail"
LENGTH_S = 60.0
"""Time without a renewal after which the Lease is free."""
RENEW_S = 20.0
"""Between looks: three requests a minute, and two in a row may fail."""


class Election:
    """One replica's part in the election."""

    def __init__(
        self,
        api: KubernetesApi,
        identity: str | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api, self._monotonic = api, monotonic
        self.identity = identity or f"{socket.gethostname()}_{os.getpid()}"
        self.trouble: str | None = "not tried yet"
        """Why nobody can be elected here, None where it can be told who is."""
        self._lease: Object | None = None
        """The Lease as this replica last wrote it: while nobody else did, it needs not be read."""
        self._record: tuple[str, str] = ("", "")
        self._seen_s = -float("inf")
        self._held_until_s = -float("inf")

    @property
    def elected(self) -> bool:
        """Whether the chores are this replica's, for certain: not beyond the end of what it last renewed."""
        return self._monotonic() < self._held_until_s

    async def run(self) -> None:
        """Take part until cancelled; what was held is given back."""
        try:
            while True:
                await self.step()
                await asyncio.sleep(RENEW_S)
        finally:
            await self._give_back()

    async def step(self) -> None:
        """Look at the Lease; renew it, or take it where it is free."""
        was, begun_s = self.elected, self._monotonic()
        try:
            if await self._tried():
                self._held_until_s = begun_s + LENGTH_S
            self.trouble = None
        except ClusterError as error:
            self._lease = None
            # 409: somebody was faster, and the next look will tell who.
            self.trouble = None if error.status == 409 else str(error)
        if self.elected != was:
            log.info("elected for the chores" if self.elected else "not elected any more", identity=self.identity)

    async def _tried(self) -> bool:
        namespace = self._api.namespace
        try:
            lease = self._lease or await self._api.get(LEASES, namespace, NAME)
        except ClusterError as error:
            if error.status != 404:
                raise
            begun = {"metadata": {"name": NAME, "namespace": namespace}, "spec": self._spec(0, self.identity)}
            self._lease = await self._api.create(LEASES, namespace, begun)
            return True
        spec: dict[str, Any] = lease.get("spec") or {}
        holder, renewed = str(spec.get("holderIdentity") or ""), str(spec.get("renewTime") or "")
        if (holder, renewed) != self._record:
            self._record, self._seen_s = (holder, renewed), self._monotonic()
        mine = holder == self.identity
        if holder and not mine and self._monotonic() - self._seen_s < float(spec.get("leaseDurationSeconds") or 0):
            self._held_until_s = -float("inf")
            return False
        changes = int(spec.get("leaseTransitions") or 0) + (not mine)
        renewed_spec = self._spec(changes, self.identity)
        if mine:
            renewed_spec["acquireTime"] = spec.get("acquireTime")
        self._lease = await self._api.update(LEASES, namespace, NAME, {**lease, "spec": renewed_spec})
        return True

    def _spec(self, changes: int, holder: str) -> Object:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return {
            "holderIdentity": holder,
            "leaseDurationSeconds": int(LENGTH_S),
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": changes,
        }

    async def _give_back(self) -> None:
        if not self.elected:
            return
        self._held_until_s = -float("inf")
        try:
            async with asyncio.timeout(2.0):
                lease = await self._api.get(LEASES, self._api.namespace, NAME)
                if (lease.get("spec") or {}).get("holderIdentity") == self.identity:
                    changes = int(lease["spec"].get("leaseTransitions") or 0)
                    spec = self._spec(changes, "")
                    await self._api.update(LEASES, self._api.namespace, NAME, {**lease, "spec": spec})
        except (ClusterError, TimeoutError) as error:
            log.info("lease not given back; it ends by itself", reason=str(error))
