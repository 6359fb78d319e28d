"""One service for all chaos tests of a database, and what each test does with it."""

from collections.abc import Iterator

import pytest

from ftlab import Client
from ftlab.schemas import Dataset
from tests.chaos import oracle, outages, sandbox
from tests.chaos.outages import Database
from tests.chaos.scene import LONG, NUM_ROWS, PATIENT, SHORT, Scale, Scene
from tests.support.lab import Lab, frequent_polls, rows
from tests.support.postgres import running_postgres

DATABASES = ("sqlite", "postgres")
CORES = 2
"""The same on every machine: a second job waits where a first one takes all."""
TIMEOUT_S = 900
"""Of one test. All its waits have limits of their own; this is for a busy machine."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("chaos")
    group.addoption("--long", action="store_true", help="every fault, on every database")
    group.addoption("--database", choices=DATABASES, action="append", help="default: SQLite; with --long, both")
    group.addoption("--seed", type=int, help="seed of the soak")


def pytest_report_header() -> str:
    return f"chaos: {sandbox.description()}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "database" in metafunc.fixturenames:
        default = DATABASES if _is_long(metafunc.config) else DATABASES[:1]
        names = metafunc.config.getoption("--database", default=None) or default
        metafunc.parametrize("database", names, indirect=True, scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if "scene" in getattr(item, "fixturenames", ()) and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(TIMEOUT_S))
        if item.get_closest_marker("chaos") and not _is_long(config):
            item.add_marker(pytest.mark.skip(reason="in the long form only: make chaos"))


@pytest.fixture(scope="session")
def scale(pytestconfig: pytest.Config) -> Scale:
    return LONG if _is_long(pytestconfig) else SHORT


@pytest.fixture(scope="session")
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    if request.param == "sqlite":
        yield outages.sqlite()
        return
    with running_postgres() as server:
        yield outages.postgres(server)


@pytest.fixture(scope="session")
def lab(database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("chaos"), database_url=database.url, cpus=CORES)
    lab.start()
    with frequent_polls():
        yield lab
    if lab.process is not None and lab.process.poll() is None:
        lab.stop()


@pytest.fixture(scope="session")
def client(lab: Lab) -> Iterator[Client]:
    with Client(lab.settings.server_url, retry=PATIENT) as client:
        yield client


@pytest.fixture(scope="session")
def dataset(lab: Lab, client: Client, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    file = tmp_path_factory.mktemp("data") / "sums.jsonl"
    file.write_text(rows(NUM_ROWS))
    return client.datasets.upload(file)


@pytest.fixture(scope="session")
def submitted(lab: Lab) -> list[str]:
    """Every job that this service has accepted."""
    return []


@pytest.fixture
def scene(
    lab: Lab, client: Client, dataset: Dataset, database: Database, scale: Scale, submitted: list[str]
) -> Iterator[Scene]:
    scene = Scene(lab, client, dataset, database, scale, submitted)
    yield scene
    scene.clean_up()
    oracle.check(scene)


def _is_long(config: pytest.Config) -> bool:
    return bool(config.getoption("--long", default=False))
