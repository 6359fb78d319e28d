"""The unmodified `openai` client against a service without Ray."""

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from openai import AsyncOpenAI, OpenAI
from starlette.testclient import TestClient

from cluster.policy import Fleet, Node
from ftlab.settings import Settings
from serve.app import create_app
from serve.context import Services
from tests.support.model_folders import CONFIG, weights, write_model
from tests.support.service_fakes import running
from tests.unit.serve.jobs.submission.test_estimate import SIZES
from train.data.tokens.row_lengths import RowLengths
from train.model.shape import derived_shapes

GIB = 1024**3
ALIAS = "gpt-4o-mini-2024-07-18"
BASE = "org/here"
LENGTHS = RowLengths(210, 200, 10_250, 4000, {50: 199, 300: 1}, is_exact=True)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"openai_models": {ALIAS: BASE}})


@pytest.fixture
def services(services: Services, coordinator: Any) -> Services:
    """A service with one base model, on a machine with 8 GiB, so that `auto` can be resolved."""
    sizes = SIZES | {"max_position_embeddings": 256}
    folder = write_model(services.settings.home / "models" / BASE.replace("/", "--"), config=CONFIG | sizes)
    shapes = derived_shapes(8, 2, 8, 4, 16, 32, is_tied=True)
    (folder / "model.safetensors").write_bytes(weights({name: list(shape) for name, shape in shapes.items()}))
    coordinator.fleet = Fleet((Node("a", 4, 0, 8 * GIB),))
    services.data.lengths = [LENGTHS]  # type: ignore[attr-defined]
    return services


@pytest.fixture
def url(services: Services) -> Iterator[str]:
    with running(create_app(replace(services))) as address:
        yield f"{address}/v1"


@pytest.fixture
def openai(services: Services, client: TestClient) -> OpenAI:
    """The client that refuses every reply that is not as OpenAI's types say; there is no socket below it."""
    return make_client(client, _strict_response_validation=True)


@pytest.fixture
def lenient(services: Services, client: TestClient) -> OpenAI:
    """The client as scripts make it, which takes statuses that it does not know."""
    return make_client(client)


@pytest.fixture
def async_openai(url: str) -> AsyncOpenAI:
    return AsyncOpenAI(api_key="k", base_url=url, _strict_response_validation=True, max_retries=1)


def make_client(client: TestClient, **options: Any) -> OpenAI:
    return OpenAI(api_key="k", base_url=f"{client.base_url}/v1", http_client=client, max_retries=1, **options)


def jsonl(number: int, word: str = "Hi") -> bytes:
    """This many rows of a chat."""
    said = [{"role": "user", "content": word}, {"role": "assistant", "content": "Hello"}]
    return (json.dumps({"messages": said}) + "\n").encode() * number


def upload(client: OpenAI, number: int = 3, name: str = "train.jsonl", word: str = "Hi") -> str:
    """A file of chats, uploaded; gives its id."""
    file = io.BytesIO(jsonl(number, word))
    return client.files.create(file=(name, file), purpose="fine-tune").id
