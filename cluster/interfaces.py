"""What the rest of the service may ask of the coordinator and of the live hub.

Callers hold these protocols, so that a test can hand in a local object. Of the coordinator and the hub, no call blocks
and none raises: the database is the truth, and a lost wake-up or a lost live event is made good by the next tick or by
a replay.
"""

from collections.abc import Sequence
from typing import Any, Protocol

FROM_NOW = -1
"""The position to listen after for whatever comes from now on."""
SERVICE_STOPS = {"job_id": "", "kind": "service_stops"}
"""Published in place of an event, and again and again, before the service stops: followers are to be sent away."""


class CoordinatorClient(Protocol):
    def wake(self) -> None:
        """Ask for a tick now, instead of at the next interval."""


class HubClient(Protocol):
    def publish(self, events: Sequence[dict[str, Any]]) -> None:
        """Hand events (as `ftlab.schemas.Event` documents) to everyone who follows their jobs."""

    async def listen(self, after: int) -> tuple[int, list[dict[str, Any]]]:
        """Wait for events newer than `after`; return the new position and the events.

        Returns an empty list when nothing came for a while, and at once after `FROM_NOW`. A position of another hub's
        life, or one that is too old, returns the hub's present position and what its ring still holds.
        """
