"""The proofs about what a service delivers and shows."""

import pytest

from ftlab import Client
from ftlab.schemas import Job
from tests.proofs.material import Material
from tests.proofs.service import all_doors_show_the_same, download_equals_final_eval_loss, train_in_service
from tests.support.lab import Lab


@pytest.fixture(scope="module")
def material(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Material:
    """With a model that the service may read."""
    return Material.make(tmp_path_factory.mktemp("proofs"), lab.settings.home / "models" / "acme--tiny")


@pytest.fixture(scope="module")
def job(lab: Lab, material: Material) -> Job:
    with lab.client() as client:
        return train_in_service(client, material, "acme/tiny")


def test_the_download_is_what_was_measured(client: Client, job: Job, material: Material):
    finding = download_equals_final_eval_loss(client, job, material)
    assert finding.holds, finding


def test_every_door_shows_the_same_numbers(client: Client, lab: Lab, job: Job):
    finding = all_doors_show_the_same(client, job, lab.settings)
    assert finding.holds, finding
