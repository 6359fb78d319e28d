"""The doctor of a whole service: the data worker is a process of its own, reached through Ray."""

import json
import urllib.request
from pathlib import Path

import pytest

from ftlab import Client, InvalidRequestError, NotFoundError
from ftlab.schemas import Dataset
from tests.support.lab import TINY, Lab

GOOD = {"messages": [{"role": "user", "content": "Where is job 7?"}, {"role": "assistant", "content": "In the queue."}]}
MUTE = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello", "weight": 0}]}


def upload(client: Client, folder: Path, *rows: object) -> Dataset:
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return client.datasets.upload(file)


def test_a_dataset_is_checked_in_the_data_worker(lab: Lab, client: Client, tmp_path: Path) -> None:
    rewarded = client.datasets.check(upload(client, tmp_path, GOOD).id, TINY, rewards=["numeric_answer"], timeout_s=120)
    assert rewarded.counts["no_number"] == 1
    dataset, held_out = upload(client, tmp_path, GOOD, MUTE, GOOD), upload(client, tmp_path, GOOD)
    report = client.datasets.check(dataset.id, TINY, eval_dataset=held_out.id, timeout_s=120)
    assert not report.has_errors
    assert (report.num_rows, report.num_untrained, report.duplicates.num_exact) == (3, 1, 1)
    assert report.overlap is not None
    assert report.overlap.num_exact == 1
    mute = upload(client, tmp_path, MUTE)
    assert client.datasets.check(mute.id, TINY, timeout_s=120).has_errors
    url = f"{lab.settings.server_url}/api/datasets/{mute.id}/check.html?model={TINY}"
    with urllib.request.urlopen(url, timeout=30) as reply:
        assert reply.status == 200
        assert b"Cannot train" in reply.read()


def test_the_tokens_of_a_row_and_what_is_refused(client: Client, tmp_path: Path) -> None:
    dataset = upload(client, tmp_path, GOOD)
    (row,) = client.datasets.tokens(dataset.id, TINY, 1)
    assert "".join(token.text for token in row.tokens if token.is_trained).startswith("In the queue.")
    # The worker's errors come through Ray as what they are.
    with pytest.raises(NotFoundError) as caught:
        client.datasets.tokens(dataset.id, TINY, 2)
    assert caught.value.code == "row_not_found"
    with pytest.raises(InvalidRequestError):
        client.datasets.check(dataset.id, TINY, max_length=1)
