"""A database and a cluster that fail, or kill their caller, at a chosen call."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

from cluster.coordinator.coordinator import Coordinator
from cluster.fakes import FakeCluster
from cluster.policy import Rules
from ftlab.errors import ServiceUnavailableError
from tests.unit.cluster.coordinator.world import World
from tracking.store import Store, Transaction


class Fault(StrEnum):
    REFUSED = "refused"
    """Nothing is done, and the caller gets an error."""
    UNANSWERED = "unanswered"
    """It is done, and the caller gets an error: the connection broke with the answer."""
    KILLED_BEFORE = "killed before"
    KILLED_AFTER = "killed after"


class Killed(BaseException):
    """The coordinator's process is gone."""


class AwayError(ServiceUnavailableError):
    """The fault that was ordered."""


class Trouble:
    """Strikes once, at one of the next calls."""

    def __init__(self) -> None:
        self._calls_left = 0
        self._fault: Fault | None = None

    def order(self, fault: Fault | None, calls_left: int) -> None:
        self._fault, self._calls_left = fault, calls_left

    @contextmanager
    def around(self) -> Iterator[None]:
        fault = None
        if self._fault is not None:
            self._calls_left -= 1
            if self._calls_left < 0:
                fault, self._fault = self._fault, None
        if fault is Fault.REFUSED:
            raise AwayError("It does not answer.")
        if fault is Fault.KILLED_BEFORE:
            raise Killed
        yield
        if fault is Fault.UNANSWERED:
            raise AwayError("It did not answer.")
        if fault is Fault.KILLED_AFTER:
            raise Killed


class _FaultyStore:
    def __init__(self, store: Store, trouble: Trouble) -> None:
        self._store = store
        self._trouble = trouble

    @contextmanager
    def begin(self) -> Iterator[Transaction]:
        with self._trouble.around(), self._store.begin() as tx:
            yield tx

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        with self._trouble.around(), self._store.read() as tx:
            yield tx


class _FaultyCluster:
    def __init__(self, cluster: FakeCluster, trouble: Trouble) -> None:
        self._cluster = cluster
        self._trouble = trouble

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._cluster, name)

        def call(*arguments: Any) -> Any:
            with self._trouble.around():
                return method(*arguments)

        return call


class TroubledWorld(World):
    """A world whose coordinator meets trouble; everybody else does not."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.trouble = Trouble()
        super().__init__(*arguments, **options)

    def new_coordinator(self) -> Coordinator:
        store: Any = _FaultyStore(self.store, self.trouble)
        cluster: Any = _FaultyCluster(self.cluster, self.trouble)
        return Coordinator(store, cluster, self.hub, self.settings, **self.clocks, rules=Rules(min_run_s=5.0))
