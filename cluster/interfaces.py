"""Interfaces of the coordinator and of the event hub for the rest of the service.

Callers hold these protocols, so that a test can hand in a local object. Of the coordinator and the hub, no call raises,
and only `why_too_large` and `machines` block: the database is authoritative, and a lost wake-up or a lost live event is
made good by the next tick or by a replay.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from cluster.policy.fleet import Fleet
from ftlab.schemas import Resources

FROM_NOW = -1
"""The position to listen after for whatever comes from now on."""


class EventDocument(NamedTuple):
    """A serialised event. Its carriers read the other fields and never parse the text."""

    job_id: str
    seq: int
    owner: str
    position: int
    """Its place among the events of all jobs of this owner."""
    kind: str
    is_end: bool
    """Whether the event gives the job a terminal status."""
    text: str
    """The event as one line of JSON in ASCII, so that its length is its size in bytes."""


SERVICE_STOPS = EventDocument("", 0, "", 0, "stop", is_end=True, text="")
"""Published repeatedly before the service stops: replicas then disconnect their followers."""
QUEUE_CHANGED = EventDocument("", 0, "", 0, "queue", is_end=False, text="")
"""Published when what a queued job waits for has changed, which no event of a job says."""
NEW_JOB = "new job"
"""Kind of a document for followers of all jobs of its owner: the log has the first events of another job."""


def new_job_of(owner: str) -> EventDocument:
    """Published after a submission instead of the job's events, which nobody but those followers waits for."""
    return EventDocument("", 0, owner, 0, NEW_JOB, is_end=False, text="")


DELETED_JOB = "deleted job"
"""Kind of a document for followers of all jobs of its owner, and of this job: it was deleted, with its log."""


def deleted_job_of(owner: str, job_id: str) -> EventDocument:
    """Published after a job was deleted."""
    return EventDocument(job_id, 0, owner, 0, DELETED_JOB, is_end=False, text="")


class CoordinatorClient(Protocol):
    def wake(self) -> None:
        """Ask for a tick now, instead of at the next interval."""

    def why_too_large(self, resources: Resources) -> str | None:
        """The reason why the machines, even all together, can never run a job with these resources.

        `None` where they can, and while the coordinator does not answer within two seconds: it decides later. Blocks.
        """

    def machines(self) -> Fleet | None:
        """The machines; `None` while the coordinator does not answer within two seconds. Blocks."""


class EventHubClient(Protocol):
    def publish(self, events: Sequence[EventDocument]) -> None:
        """Hand events to everyone who follows their jobs."""

    async def listen(self, after: int) -> tuple[int, list[EventDocument]]:
        """Wait for events newer than `after`; return the new position and the events.

        Returns an empty list when nothing came for a while, and at once after `FROM_NOW`. For a position from before
        the hub's last restart, or one that is too old, it returns the hub's present position and what its ring holds.
        """
