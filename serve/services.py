"""Everything that the routes need, put together once per process."""

from dataclasses import dataclass
from functools import cached_property

from starlette.requests import HTTPConnection

from cluster.clients import CoordinatorClient, DataClient, HubClient
from ftlab.settings import Settings
from serve.live import LiveFeed
from serve.model_hub import ModelHub
from tracking.buckets import Buckets, DatasetFiles
from tracking.store import Store


@dataclass(frozen=True)
class Services:
    """The parts of one API process. The application starts and stops `feed`; its maker opens the rest."""

    settings: Settings
    store: Store
    coordinator: CoordinatorClient
    hub: HubClient
    feed: LiveFeed
    data: DataClient
    model_hub: ModelHub

    @cached_property
    def buckets(self) -> Buckets:
        return Buckets.open(self.settings)

    @cached_property
    def dataset_files(self) -> DatasetFiles:
        return DatasetFiles(self.store, self.buckets)


def services_of(connection: HTTPConnection) -> Services:
    """The services of the application that answers this request."""
    services = connection.app.state.services
    assert isinstance(services, Services)
    return services
