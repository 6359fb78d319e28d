"""One service for all end-to-end tests of the session."""

from collections.abc import Iterator

import pytest

from ftlab import Client
from ftlab.schemas import Dataset
from tests.lab import Lab, rows


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--ingress", choices=("haproxy", "python"), default="haproxy", help="Serve's HTTP front")


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("lab"), ingress=pytestconfig.getoption("--ingress"))
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
