"""Stand-ins for the coordinator, the data worker and Hugging Face; services made of them; a real server in a thread."""

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import uvicorn
from fastapi import FastAPI

from cluster.data.requests import CheckRequest, LengthsRequest, TokensRequest, WorkState, WorkStatus
from cluster.fakes import FakeEventHub
from cluster.interfaces import EventHubClient
from cluster.policy import Fleet, why_too_large
from cluster.telemetry.client import Newest
from ftlab.errors import FineTuneLabError
from ftlab.schemas import Resources
from ftlab.settings import Settings
from serve.context import Services
from serve.models.huggingface_lookup import HubModel
from serve.streams.subscriptions import EventFeed
from tracking.store import Store
from train.data.tokens.row_lengths import RowLengths
from train.model.files import ModelFacts


class FakeCoordinator:
    def __init__(self) -> None:
        self.num_wakes = 0
        self.fleet: Fleet | None = None
        """The machines, once a test has set them."""

    def wake(self) -> None:
        self.num_wakes += 1

    def why_too_large(self, resources: Resources) -> str | None:
        return why_too_large(resources, self.fleet) if self.fleet else None

    def machines(self) -> Fleet | None:
        return self.fleet


class FakeData:
    """Answers what a test has put into `state` and `rows`."""

    def __init__(self) -> None:
        self.state = WorkState(WorkStatus.WORKING)
        self.rows: list[dict[str, Any]] = []
        self.problems: dict[int, str] = {}
        self.lengths: list[RowLengths] | FineTuneLabError = []
        self.asked: list[CheckRequest | LengthsRequest | TokensRequest] = []

    async def check(self, request: CheckRequest) -> WorkState:
        self.asked.append(request)
        return self.state

    async def tokens(self, request: TokensRequest) -> list[dict[str, Any]]:
        self.asked.append(request)
        return self.rows

    async def template_problems(self, request: TokensRequest) -> dict[int, str]:
        self.asked.append(request)
        return self.problems

    async def row_lengths(self, request: LengthsRequest) -> list[RowLengths]:
        self.asked.append(request)
        if isinstance(self.lengths, FineTuneLabError):
            raise self.lengths
        return self.lengths


class FakeTelemetry:
    """Knows the machines that a test has put into `found`; `None` is an actor that does not answer."""

    def __init__(self, found: Newest | None = None) -> None:
        self.found = found

    def newest(self) -> Newest | None:
        return self.found


COMMIT = "c0ffee" * 6 + "c0de"
FACTS = ModelFacts("LlamaForCausalLM", 1000, 4000, has_chat_template=True)


class FakeHuggingFace:
    """Has every model, except where a test says otherwise: `None` is a hub that is away."""

    def __init__(self) -> None:
        self.answers: dict[str, HubModel | FineTuneLabError | None] = {}
        self.asked: list[tuple[str, str | None]] = []

    async def find(self, repo: str, revision: str | None) -> HubModel | None:
        self.asked.append((repo, revision))
        answer = self.answers.get(repo, HubModel(COMMIT, FACTS))
        if isinstance(answer, FineTuneLabError):
            raise answer
        return answer


def fake_services(settings: Settings, store: Store, hub: EventHubClient | None = None, **parts: Any) -> Services:
    """The parts of one API process: stand-ins, except for the store, and for those that `parts` replaces."""
    hub = hub or FakeEventHub()
    stand_ins: dict[str, Any] = {
        "coordinator": FakeCoordinator(),
        "event_hub": hub,
        "feed": EventFeed(hub),
        "data": FakeData(),
        "huggingface": FakeHuggingFace(),
    }
    return Services(settings, store, **(stand_ins | parts))


@contextlib.contextmanager
def running(app: FastAPI) -> Iterator[str]:
    """Serve the application on a free port; give its address."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", ws="websockets-sansio"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 10
    while not server.started:
        assert thread.is_alive(), "the server ended while starting"
        assert time.monotonic() < deadline, "the server does not start"
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()
