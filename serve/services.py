"""Everything that the routes need, put together once per process."""

from dataclasses import dataclass

from starlette.requests import HTTPConnection

from cluster.clients import CoordinatorClient, HubClient
from ftlab.settings import Settings
from serve.live import LiveFeed
from tracking.store import Store


@dataclass(frozen=True)
class Services:
    """The parts of one API process. The application starts and stops `feed`; its maker opens the rest."""

    settings: Settings
    store: Store
    coordinator: CoordinatorClient
    hub: HubClient
    feed: LiveFeed


def services_of(connection: HTTPConnection) -> Services:
    """The services of the application that answers this request."""
    services = connection.app.state.services
    assert isinstance(services, Services)
    return services
