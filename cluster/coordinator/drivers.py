"""The run drivers: listed once a tick, and kept up to date while the tick starts and ends some."""

from collections.abc import Collection

from cluster.coordinator.ray_backend import Cluster, DriverLostError
from cluster.names import STANDBY_PREFIX
from cluster.policy import WorkerShape
from train.plan import RunPlan


class Drivers:
    """The live run drivers. Remembers which of them this coordinator has launched."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._launched: set[str] = set()
        self.names: set[str] = set()

    def refresh(self) -> None:
        self.names = self._cluster.drivers()

    def forget_except(self, names: Collection[str]) -> None:
        """Forget that a driver was launched here when it neither lives nor is among `names`."""
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
        """As `Cluster.state`; `ended` for a driver that does not answer."""
        try:
            return self._cluster.state(name)
        except DriverLostError:
            return "ended"

    def find_standby(self, claimed: Collection[str]) -> str | None:
        """A standby run that is ready or starting: even the latter is ahead of a fresh run.

        One of the `claimed` drivers is left out: the coordinator before this one claimed it for an attempt, and ended
        before it handed over the plan.
        """
        names = sorted(name for name in self.names.difference(claimed) if name.startswith(STANDBY_PREFIX))
        return next((name for name in names if self.state(name) in {"starting", "ready"}), None)
