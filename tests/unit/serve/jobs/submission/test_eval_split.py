"""`eval_split` at the API: what a submit refuses, what an estimate counts, and what an append keeps."""

from dataclasses import replace

import pytest

from cluster.coordinator.preparation import DataKey
from cluster.data.requests import data_request
from ftlab.schemas import JobConfig
from train.data.rows.errors import DatasetInvalidError
from train.data.split_spec import SplitSpec
from train.data.tokens.row_lengths import RowLengths

JOBS = "/api/training/jobs"


@pytest.fixture
def config(config, store):
    """A job on a dataset of 20 rows."""
    with store.begin() as tx:
        like = tx.datasets.get(config["dataset"])
        tx.datasets.add(replace(like, id="ds-20", name="twenty.jsonl", num_rows=20))
        tx.datasets.add(replace(like, id="ds-9", name="nine.jsonl", num_rows=9))
    return config | {"dataset": "ds-20"}


@pytest.mark.parametrize("path", [JOBS, f"{JOBS}/estimate"])
@pytest.mark.parametrize(
    ("changes", "smallest"),
    [({}, "0.05"), ({"dataset": ["ds-9", "ds-20"]}, "0.05"), ({"dataset": ["ds-9"]}, "0.111112")],
)
def test_a_share_that_sets_no_row_aside_is_refused_with_the_smallest_that_works(
    client, config, path, changes, smallest
):
    reply = client.post(path, json=config | changes | {"eval_split": 0.049})
    error = reply.json()["error"]
    assert (reply.status_code, error["param"]) == (422, "eval_split")
    assert error["message"] == (
        f"eval_split 0.049 leaves no row to evaluate on; the smallest share that works is {smallest}."
    )
    assert client.post(JOBS, json=config | changes | {"eval_split": float(smallest)}).status_code == 201


@pytest.mark.parametrize(
    "changes",
    [
        {"eval_split": 0},
        {"eval_split": 1},
        {"eval_split": "0.1"},
        {"eval_split": 0.1, "eval_dataset": "ds-9"},
        {"eval_split_seed": 3},
        {"eval_split": 0.1, "eval_split_files": 2},
    ],
)
def test_settings_that_do_not_fit_are_refused(client, config, changes):
    assert client.post(JOBS, json=config | changes).status_code == 422
    assert client.get(JOBS).json()["data"] == []


def test_the_data_worker_gets_the_split(client, config, store, settings):
    body = config | {"eval_split": 0.1, "eval_split_seed": 4}
    job = client.post(JOBS, json=body).json()
    stored = JobConfig.model_validate(job["resolved_config"])
    with store.read() as tx:
        assert data_request(tx, settings, stored, None).eval_split == SplitSpec(0.1, 4)
    other = stored.model_copy(update={"eval_split_seed": 5})
    assert DataKey.of(stored, None) != DataKey.of(other, None)


def test_files_that_are_appended_leave_the_evaluation_rows_as_they_are(client, config):
    job = client.post(JOBS, json=config | {"eval_split": 0.1}).json()["id"]
    for num_files in (2, 3):
        reply = client.post(f"{JOBS}/{job}/batches", json={"datasets": ["ds-9"]})
        assert reply.status_code == 202, reply.text
        for kept in ("config", "resolved_config"):
            found = reply.json()[kept]
            assert (len(found["dataset"]), found["eval_split"], found["eval_split_files"]) == (num_files, 0.1, 1)
    again = client.post(JOBS, json=reply.json()["config"])
    assert again.status_code == 201, "the stored config makes the same job"
    without = client.post(JOBS, json=config).json()["id"]
    reply = client.post(f"{JOBS}/{without}/batches", json={"datasets": ["ds-9"]})
    assert reply.json()["resolved_config"]["eval_split_files"] is None


def test_an_estimate_counts_both_sides(client, config, services):
    services.data.lengths = [RowLengths(18, 18, 900, 400, {50: 18}, is_exact=True, num_eval_rows=2)]
    training = {"per_device_train_batch_size": 2, "num_train_epochs": 1.0}
    found = client.post(f"{JOBS}/estimate", json=config | {"eval_split": 0.1, "training": training}).json()
    assert (found["rows"]["num_rows"], found["rows"]["num_eval_rows"], found["steps"]) == (18, 2, 9)
    assert client.post(f"{JOBS}/estimate", json=config).json()["rows"]["num_eval_rows"] is None


def test_an_estimate_refuses_a_split_that_equal_rows_leave_empty(client, config, services):
    services.data.lengths = DatasetInvalidError("All rows are equal.", param="eval_split")
    reply = client.post(f"{JOBS}/estimate", json=config | {"eval_split": 0.1})
    assert (reply.status_code, reply.json()["error"]["param"]) == (422, "eval_split")
