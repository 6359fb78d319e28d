"""Client for the API of the telemetry, which the actor of the event hub collects."""

from typing import Protocol

from cluster.named_actor import ActorUnreachableError, NamedActor
from cluster.names import EVENT_HUB
from cluster.telemetry.samples import Sample

CALL_TIMEOUT_S = 2.0

Newest = dict[str, tuple[str, Sample | None]]
"""Name and newest sample of every live machine, by its id."""


class TelemetryClient(Protocol):
    def newest(self) -> Newest | None:
        """The machines; `None` while the actor does not answer within two seconds, or starts. Blocks."""


class RayTelemetryClient:
    """A `TelemetryClient` over the named actor."""

    def __init__(self) -> None:
        self._actor = NamedActor(EVENT_HUB)

    def newest(self) -> Newest | None:
        try:
            found: Newest | None = self._actor.call("newest", timeout_s=CALL_TIMEOUT_S)
        except ActorUnreachableError:
            return None
        return found
