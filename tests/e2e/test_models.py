"""A base model that only the hub has: checked, pinned, fetched and trained."""

import pytest

from ftlab import Client, InvalidRequestError, NotFoundError, PermissionDeniedError
from ftlab.schemas import Dataset
from tests.support.huggingface_server import HubServer, Repository
from tests.support.lab import Lab, tiny_job
from tests.support.model_folders import write_model
from tests.support.tiny_models import make_tiny_model


@pytest.fixture
def far(model_hub: HubServer, tmp_path):
    model_hub.repositories["acme/far"] = Repository(make_tiny_model(tmp_path / "far"), num_parameters=None)
    return model_hub.repositories["acme/far"]


def test_a_model_of_the_hub_is_trained_at_the_commit_of_the_submit(
    lab: Lab, client: Client, dataset: Dataset, model_hub: HubServer, far: Repository
):
    commit = far.sha
    found = client.models.check("acme/far")
    assert (found.revision, found.is_local, found.has_chat_template) == (commit, False, True)
    assert found.parameters
    job = client.jobs.wait(client.jobs.create(tiny_job(dataset, model="acme/far", max_steps=5)).id, timeout_s=240)
    model = client.models.get(job.model_id or "")
    assert (model.base_model, model.base_revision) == ("acme/far", commit)
    [snapshot] = (lab.settings.home / "cache" / "hub" / "models--acme--far" / "snapshots").iterdir()
    assert snapshot.name == commit
    assert client.models.check(f"model:{model.id}").base_model == f"acme/far@{commit}"
    # On top of the adapter, while the hub has moved on and is away.
    (far.folder / "README.md").write_text("news")
    assert far.sha != commit
    model_hub.answers_with = 503
    try:
        again = client.jobs.wait(
            client.jobs.create(tiny_job(dataset, model=f"model:{model.id}", max_steps=5)).id, timeout_s=240
        )
    finally:
        model_hub.answers_with = None
    assert client.models.get(again.model_id or "").base_revision == commit


def test_what_cannot_be_trained_is_refused_at_the_submit(
    client: Client, dataset: Dataset, model_hub: HubServer, far: Repository, tmp_path
):
    model_hub.repositories["acme/gated"] = Repository(far.folder, gated="auto")
    model_hub.repositories["acme/vision"] = Repository(write_model(tmp_path / "vision", config={"model_type": "vit"}))
    for name, error in (
        ("acme/gated", PermissionDeniedError),
        ("acme/none", NotFoundError),
        ("acme/vision", InvalidRequestError),
    ):
        for ask in (client.models.check, lambda ref: client.jobs.create(tiny_job(dataset, model=ref))):
            with pytest.raises(error) as caught:
                ask(name)
            assert caught.value.param == "model"
