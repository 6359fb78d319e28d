"""One service for all end-to-end tests of the session."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ftlab import Client
from ftlab.schemas import Dataset
from tests.support.chromium import chromium
from tests.support.huggingface_server import HubServer
from tests.support.judge_stub import KEY as JUDGE_KEY
from tests.support.judge_stub import MODEL as JUDGE_MODEL
from tests.support.judge_stub import JudgeStub
from tests.support.lab import TINY, Lab, rows
from tests.support.moto_server import make_bucket, running_moto
from tests.support.service_fakes import running

__all__ = ["chromium"]

REWARD_FILE = Path(__file__).with_name("reward_file.py")
"""A reward that jobs may use here."""
CORE_PRICE = 36
"""A core for an hour: a cent for a second."""
TIMEOUT_S = 900


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--ingress", choices=("haproxy", "python"), default="haproxy", help="Serve's HTTP front")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All waits have limits of their own; this is for a busy machine."""
    for item in items:
        if Path(__file__).parent in item.path.parents and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(TIMEOUT_S))


@pytest.fixture(scope="session")
def model_hub() -> Iterator[HubServer]:
    """The hub that the service asks for models."""
    hub = HubServer()
    with pytest.MonkeyPatch.context() as environment, running(hub.app) as url:
        environment.setenv("HF_ENDPOINT", url)
        environment.delenv("HF_TOKEN", raising=False)
        yield hub


@pytest.fixture(scope="session")
def remote_bucket() -> Iterator[str]:
    """The URL of a folder on an S3 server."""
    with pytest.MonkeyPatch.context() as environment, running_moto() as address:
        yield make_bucket(address, environment)


@pytest.fixture(scope="session")
def judge() -> Iterator[tuple[JudgeStub, str]]:
    """A model that rates answers, and its URL."""
    stub = JudgeStub()
    with pytest.MonkeyPatch.context() as environment, running(stub.app) as url:
        environment.setenv("JUDGE_KEY", JUDGE_KEY)
        yield stub, f"{url}/v1"


@pytest.fixture(scope="session")
def lab(
    tmp_path_factory: pytest.TempPathFactory,
    pytestconfig: pytest.Config,
    model_hub: HubServer,
    remote_bucket: str,
    judge: tuple[JudgeStub, str],
) -> Iterator[Lab]:
    lab = Lab(
        tmp_path_factory.mktemp("lab"),
        ingress=pytestconfig.getoption("--ingress"),
        buckets={"remote": remote_bucket},
        reward_files=(REWARD_FILE,),
        stop_grace_s=12,
        notify_private_hosts=("127.0.0.1",),
        prices={"cpu": CORE_PRICE},
        currency="EUR",
        judges={"strict": {"url": judge[1], "model": JUDGE_MODEL, "key_env": "JUDGE_KEY"}},
        openai_models={"gpt-4o-mini-2024-07-18": TINY},
    )
    lab.start()
    yield lab
    if lab.process is not None and lab.process.poll() is None:
        lab.stop()


@pytest.fixture
def client(lab: Lab) -> Iterator[Client]:
    with lab.client() as client:
        yield client


@pytest.fixture(scope="session")
def dataset(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    file = tmp_path_factory.mktemp("data") / "sums.jsonl"
    file.write_text(rows())
    with lab.client() as client:
        return client.datasets.upload(file)
