"""Client of the telemetry actor for the API."""

from typing import Protocol

from cluster.named_actor import ActorUnreachableError, NamedActor
from cluster.names import TELEMETRY
from cluster.telemetry.samples import Sample

CALL_TIMEOUT_S = 2.0

Newest = dict[str, tuple[str, Sample | None]]
"""Name and newest sample of every live machine, by its id."""


class TelemetryClient(Protocol):
    def newest(self) -> Newest | None:
        """The machines; `None` while the telemetry actor does not answer within two seconds. Blocks."""


class RayTelemetryClient:
    """A `TelemetryClient` over the named actor."""

    def __init__(self) -> None:
        self._actor = NamedActor(TELEMETRY)

    def newest(self) -> Newest | None:
        try:
            found: Newest = self._actor.call("newest", timeout_s=CALL_TIMEOUT_S)
        except ActorUnreachableError:
            return None
        return found
