"""Telling others what changed: whoever follows the job, and the coordinator.

Both are only hints, because the database has everything; so the caller, who waits, gets the reply first.
"""

from collections.abc import Sequence

from starlette.background import BackgroundTask

from cluster.event_documents import to_documents
from serve.services import Services
from tracking.store.records import EventRecord


def announcement(services: Services, events: Sequence[EventRecord] = ()) -> BackgroundTask:
    """The task of a reply that tells of committed events once the reply has been sent."""
    return BackgroundTask(_announce, services, events)


async def _announce(services: Services, events: Sequence[EventRecord]) -> None:
    # On the event loop: neither call waits for anything, and a thread would compete with the next request.
    if events:
        services.hub.publish(to_documents(events))
    services.coordinator.wake()
