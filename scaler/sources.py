"""Where a workload's load comes from: its Prometheus, what is replayed, else what is pushed."""

from dataclasses import replace

from scaler.core import steering
from scaler.core.domain import NOTHING_RUNNING, Running, Workload
from scaler.core.signals import Samples, Signal
from scaler.errors import SourceError
from scaler.lookout import Cluster, LoadSource
from scaler.push import PushedLoad
from scaler.replay import Replay
from scaler.roster import Key
from scaler.steering_file import SteeringFile


class Sources:
    """A load source that asks the one that knows."""

    def __init__(self, pushed: PushedLoad, replayed: Replay | None = None, queried: LoadSource | None = None) -> None:
        self._pushed, self._replayed, self._queried = pushed, replayed, queried

    def admit(self, workload: Workload) -> None:
        """As `LoadSource.admit`."""
        if self._queried is not None and not (self._replayed is not None and self._replayed.has(workload)):
            self._queried.admit(workload)

    async def read(self, workload: Workload, signal: Signal, end_s: float, n: int, spacing_s: float) -> Samples:
        """As `LoadSource.read`."""
        return await self._of(workload).read(workload, signal, end_s, n, spacing_s)

    def _of(self, workload: Workload) -> LoadSource:
        if self._replayed is not None and self._replayed.has(workload):
            return self._replayed
        if not is_pushed(workload):
            if self._queried is None:
                raise SourceError(f"{workload.namespace}/{workload.name}: this service reads no serverAddress")
            return self._queried
        return self._pushed


def is_pushed(workload: Workload) -> bool:
    """Whether nothing is queried for it."""
    return workload.server_address is None


class Replicas:
    """What runs, by the cluster; where it cannot tell, by what was pushed and what a file asks by hand."""

    def __init__(self, cluster: Cluster, pushed: PushedLoad, by_hand: SteeringFile | None = None) -> None:
        self._cluster, self._pushed, self._by_hand = cluster, pushed, by_hand

    def running(self, key: Key, t_s: float) -> Running | None:
        """As `Cluster.running`."""
        running = self._cluster.running(key, t_s)
        if running is None:
            running = self._pushed.running(key, t_s)
        if self._by_hand is None:
            return running
        return replace(running or NOTHING_RUNNING, **steering.hand(self._by_hand.steering(key, t_s)))


class NoCluster:
    """Nobody can tell what runs."""

    def running(self, key: Key, t_s: float) -> Running | None:
        """Nothing is known."""
        del key, t_s
        return None
