"""One service for all end-to-end tests of the session."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ftlab import Client
from ftlab.schemas import Dataset, Job
from tests.proofs.material import Material
from tests.proofs.service import train_in_service
from tests.support.chromium import chromium
from tests.support.huggingface_server import HubServer, Repository
from tests.support.judge_stub import KEY as JUDGE_KEY
from tests.support.judge_stub import MODEL as JUDGE_MODEL
from tests.support.judge_stub import JudgeStub
from tests.support.lab import TINY, Lab, frequent_polls, rows, tiny_job
from tests.support.moto_server import make_bucket, running_moto
from tests.support.service_fakes import running
from tests.support.tiny_models import make_tiny_model

__all__ = ["chromium"]

REWARD_FILE = Path(__file__).with_name("reward_file.py")
"""A reward that jobs may use here."""
CORE_PRICE = 36
"""A core for an hour: a cent for a second."""
ENDING_EARLY = {
    "eval_steps": 4,
    "early_stopping_patience": 1,
    "early_stopping_threshold": 1000.0,
    "warmup_ratio": 0.1,
    "neftune_noise_alpha": 5.0,
    "dataloader_num_workers": 2,
}
"""No loss falls by 1,000: the first evaluation after the start ends the run."""
DIVIDED = {"num_workers": 2, "sharding": "fsdp"}
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


@pytest.fixture
def far(model_hub: HubServer, tmp_path: Path) -> Repository:
    """The model `acme/far`, which only the hub has."""
    model_hub.repositories["acme/far"] = Repository(make_tiny_model(tmp_path / "far"), num_parameters=None)
    return model_hub.repositories["acme/far"]


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
    with frequent_polls():
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


@pytest.fixture(scope="session")
def material(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Material:
    """40 rows to train on and 9 to evaluate on, and the service's tiny model."""
    folder = tmp_path_factory.mktemp("material")
    file = folder / "sums.jsonl"
    file.write_text(rows(49))
    return Material.make(folder / "proofs", lab.settings.home / "models" / TINY.replace("/", "--"), file)


@pytest.fixture(scope="session")
def finished(lab: Lab, material: Material) -> Job:
    """A job with evaluations, run to its end; tests only look at it."""
    with lab.client() as client:
        return train_in_service(
            client, material, TINY, max_steps=20, per_device_train_batch_size=4, save_steps=5, eval_steps=10
        )


@pytest.fixture(scope="session")
def ended_early(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A job of two workers on a dataset in the bucket on S3, which its first evaluation after the start ended."""
    file = tmp_path_factory.mktemp("remote") / "sums.jsonl"
    file.write_text(rows(48))
    with lab.client() as client:
        dataset = client.datasets.upload(file, bucket="remote")
        config = tiny_job(dataset, eval_dataset=dataset.id, training=ENDING_EARLY, resources=DIVIDED)
        config["method"] |= {"label_smoothing_factor": 0.1}
        return client.jobs.wait(client.jobs.create(config).id, timeout_s=300)
