"""`dataset_weights` at the API: what a submit refuses, what an estimate says, and that nothing can be appended."""

from dataclasses import replace

import pytest

from tests.unit.serve.jobs.statuses import S, bring
from train.data.tokens.row_lengths import RowLengths

JOBS = "/api/training/jobs"


@pytest.fixture
def config(config, store):
    """A mix of two datasets, with 20 and 5 rows."""
    with store.begin() as tx:
        like = tx.datasets.get(config["dataset"])
        tx.datasets.add(replace(like, id="ds-20", name="twenty.jsonl", num_rows=20))
        tx.datasets.add(replace(like, id="ds-5", name="five.jsonl", num_rows=5))
        tx.datasets.add(replace(like, id="ds-pairs", name="pairs.jsonl", num_rows=5, kind="preference"))
    return config | {"dataset": ["twenty.jsonl", "ds-5"], "dataset_weights": [2, 3]}


def test_a_mix_is_stored_and_counts_as_one_file(client, config, store):
    job = client.post(JOBS, json=config).json()
    assert (job["config"]["dataset"], job["config"]["dataset_weights"]) == (["ds-20", "ds-5"], [2.0, 3.0])
    assert job["num_files"] == 1
    with store.read() as tx:
        assert tx.job_files.of_job(job["id"]) == ["ds-20", "ds-5"], "both are kept from being deleted"


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"dataset_weights": [1]}, "dataset_weights"),
        ({"dataset_weights": [1, 2, 3]}, None),
        ({"dataset_weights": [1, 0]}, "dataset_weights.1"),
        ({"dataset_weights": [1, -1]}, "dataset_weights.1"),
        ({"dataset_weights": "1, 2"}, "dataset_weights"),
        ({"dataset_weights": [1000, 1]}, "dataset_weights"),
        ({"dataset": ["ds-20", "ds-pairs"]}, "dataset"),
    ],
)
def test_what_cannot_be_mixed_is_refused(client, config, changes, param):
    reply = client.post(JOBS, json=config | changes)
    assert reply.status_code == 422, reply.text
    assert param is None or reply.json()["error"]["param"].startswith(param.partition(".")[0])
    assert client.get(JOBS).json()["data"] == []


@pytest.mark.parametrize("status", [S.QUEUED, S.RUNNING])
def test_nothing_is_appended_to_a_mix(client, store, config, status):
    job = client.post(JOBS, json=config).json()["id"]
    if status is not S.QUEUED:
        bring(store, job, status)
    reply = client.post(f"{JOBS}/{job}/batches", json={"datasets": ["ds-5"]})
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "datasets_mixed")


def test_an_estimate_says_what_an_epoch_takes(client, config, services):
    services.data.lengths = [
        RowLengths(20, 20, 1000, 400, {50: 20}, is_exact=True),
        RowLengths(5, 5, 50, 20, {10: 5}, is_exact=True),
    ]
    training = {"per_device_train_batch_size": 5, "num_train_epochs": 2.0}
    found = client.post(f"{JOBS}/estimate", json=config | {"training": training}).json()
    assert (found["steps"], found["tokens"]) == (10, 2 * (10 * 50 + 15 * 10))
    expected = "Each epoch mixes 25 rows: 10 of ds-20 (0.50 times its 20 rows), 15 of ds-5 (3.00 times its 5 rows)."
    assert expected in found["notes"]
