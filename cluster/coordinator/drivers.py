"""The run drivers of one tick: listed once, and kept up to date while the tick starts and ends some."""

from collections.abc import Collection

from cluster.coordinator.ray_backend import Cluster, DriverLostError
from cluster.names import STANDBY_PREFIX
from cluster.policy import WorkerShape
from train.plan import RunPlan


class Roster:
    """Which run drivers live, and which of them this coordinator has started."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._launched: set[str] = set()
        self.names: set[str] = set()

    def refresh(self) -> None:
        self.names = self._cluster.drivers()

    def forget_except(self, names: Collection[str]) -> None:
        """Remember of the drivers that were started here only those that are still in use."""
        self._launched &= self.names | set(names)

    def was_launched_here(self, name: str) -> bool:
        return name in self._launched

    def launch(self, name: str, shape: WorkerShape | None, plan: RunPlan | None) -> None:
        self._cluster.launch(name, shape, plan)
        self._launched.add(name)
        self.names.add(name)

    def end(self, name: str) -> None:
        self._cluster.end(name)
        self.names.discard(name)

    def state(self, name: str) -> str:
        """As `Cluster.state`; a driver that does not answer has `ended`."""
        try:
            return self._cluster.state(name)
        except DriverLostError:
            return "ended"

    def find_standby(self, owned: Collection[str]) -> str | None:
        """A standby run that waits, or is about to: even then it is ahead of a fresh one.

        Not one of the `owned`, whose attempt is claimed, but that the coordinator before this one did not get to tell.
        """
        names = sorted(name for name in self.names.difference(owned) if name.startswith(STANDBY_PREFIX))
        return next((name for name in names if self.state(name) in {"starting", "ready"}), None)
