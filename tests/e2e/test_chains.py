"""A chain of jobs that starts from a base model of the hub."""

from pathlib import Path

import pytest

from ftlab import Client
from ftlab.schemas import Dataset
from ftlab.status import JobStatus
from tests.support.huggingface_server import HubServer, Repository
from tests.support.lab import Lab, at_step, follow_until, tiny_job
from tests.support.method_jobs import PAIRS, assert_trained, upload

PATIENT_S = 240


@pytest.fixture
def pairs(client: Client, tmp_path: Path) -> Dataset:
    return upload(client, tmp_path / "pairs.jsonl", PAIRS)


def test_a_chain_trains_on_a_model_of_the_hub_then_on_preferences_and_measures_and_exports_the_result(
    lab: Lab, client: Client, dataset: Dataset, pairs: Dataset, model_hub: HubServer, far: Repository
) -> None:
    """All at the commit of the submit: after the first step, the hub has moved on and is away."""
    commit = far.sha
    found = client.models.check("acme/far")
    assert (found.revision, found.is_local, found.has_chat_template) == (commit, False, True)
    assert found.parameters
    first = tiny_job(dataset, name="chain one", model="acme/far", max_steps=2, lora={"r": 4})
    dpo = {"type": "dpo", "max_length": 64, "beta": 0.2}
    second = tiny_job(pairs, name="chain two", model="job:chain one", max_steps=6, method=dpo, eval_dataset=pairs.id)
    third = {
        "kind": "evaluation",
        "name": "chain measured",
        "models": ["job:chain two"],
        "dataset": dataset.id,
        "max_rows": 2,
    }
    fourth = {"kind": "export", "model": "job:chain two", "after": "chain measured", "formats": ["gguf"]}
    one, two, measured, exported = client.chains.create([first, second, third, fourth])
    assert [parent.job_id for parent in (*two.parents, *measured.parents)] == [one.id, two.id]
    follow_until(client, one, at_step(1))
    (far.folder / "README.md").write_text("news")
    assert far.sha != commit, "it has moved on"
    model_hub.answers_with = 503
    try:
        measured = client.jobs.wait(measured.id, timeout_s=PATIENT_S)
        exported = client.jobs.wait(exported.id, timeout_s=PATIENT_S)
    finally:
        model_hub.answers_with = None
        (far.folder / "README.md").unlink()

    assert measured.status is exported.status is JobStatus.COMPLETED
    one, two = client.jobs.get(one.id), client.jobs.get(two.id)
    assert two.config["model"] == f"model:{one.model_id}"
    for job in (one, two):
        model = client.models.get(job.model_id or "")
        assert (model.base_model, model.base_revision) == ("acme/far", commit)
    [snapshot] = (lab.settings.home / "cache" / "hub" / "models--acme--far" / "snapshots").iterdir()
    assert snapshot.name == commit
    assert client.models.check(f"model:{two.model_id}").base_model == f"acme/far@{commit}"
    assert (two.config["lora"]["r"], two.started_at > one.finished_at) == (4, True)  # type: ignore[operator]
    [link] = two.parents
    assert (link.job_id, link.attempt, link.model_id) == (one.id, one.attempt, one.model_id)
    assert_trained(client, two, {"eval_rewards/accuracies"})
    series = {point.name: point.value for point in client.jobs.metrics(two.id) if point.step == 6}
    assert series["loss"] < 0.693
    assert series["eval_rewards/accuracies"] == 1
    results = client.evaluations.results(measured.id)
    assert [model.name for model in results.models] == ["acme/far", f"model:{two.model_id}"]
    assert [model.title for model in results.models] == [None, two.name]
    [export] = client.exports.list(two.id)
    assert [(artifact.name, artifact.receipt.is_good) for artifact in export.artifacts] == [("gguf-q8_0", True)]
