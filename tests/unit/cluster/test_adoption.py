"""Datasets of before there were buckets by content."""

import logging
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from cluster.adoption import adopt_old_datasets
from cluster.machine.ports import free_ports
from cluster.machine.supervisor import prepare
from cluster.runs.make_plan import dataset_rows
from ftlab.errors import InvalidRequestError
from ftlab.settings import Settings
from tests.support.databases import make_database
from tests.support.rows import read_rows
from tests.unit.tracking.samples import dataset
from tracking.buckets import Buckets, DatasetFiles, source_key
from tracking.store import Store
from tracking.store.records import DatasetRecord

ROWS = b'{"prompt":"a","completion":"b"}\n' * 3


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


@pytest.fixture
def store(settings: Settings) -> Store:
    make_database(settings.home / "ftlab.db")
    return Store.open(settings.store_url)


def old_dataset(settings: Settings, store: Store, dataset_id: str, content: bytes) -> DatasetRecord:
    folder = settings.home / "buckets" / "training-files" / dataset_id
    folder.mkdir(parents=True)
    (folder / "source").write_bytes(content)
    (folder / "rows.jsonl").write_text('{"messages":[]}\n')
    digest = sha256(content).hexdigest()
    record = replace(dataset(dataset_id), bucket="training-files", sha256=digest, shape="prompt_completion")
    with store.begin() as tx:
        tx.datasets.add(record)
    return record


def test_old_datasets_get_what_others_have(settings: Settings, store: Store) -> None:
    for dataset_id in ("ds-1", "ds-2"):
        old_dataset(settings, store, dataset_id, ROWS)
    for _ in range(2):
        adopt_old_datasets(settings, store)
    bucket = settings.home / "buckets" / "training-files"
    files = sorted(path.parent.name for path in bucket.rglob("*") if path.is_file())
    assert files == ["blobs", "canonical"]
    for dataset_id in ("ds-1", "ds-2"):
        with store.read() as tx:
            record = tx.datasets.get(dataset_id)
        assert record.kind == "messages"
        assert Buckets.open(settings).local_path("training-files", source_key(record)).read_bytes() == ROWS
        rows = list(read_rows(dataset_rows(settings, record)))
        assert [message["content"] for message in rows[0]["messages"]] == ["a", "b"]
        assert len(rows) == 3
        DatasetFiles(store, Buckets.open(settings)).remove(dataset_id, owner="local")
    assert [path for path in bucket.rglob("*") if path.is_file()] == []


def test_one_that_cannot_be_read_stays_as_it_is(
    settings: Settings, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    bad = old_dataset(settings, store, "ds-bad", b"{nonsense\n")
    old_dataset(settings, store, "ds-good", ROWS)
    with caplog.at_level(logging.WARNING):
        adopt_old_datasets(settings, store)
    assert "Dataset ds-bad could not be" in caplog.text
    with store.read() as tx:
        assert tx.datasets.get("ds-bad") == bad
        assert tx.datasets.get("ds-good").canonical
    assert dataset_rows(settings, bad).read_text() == '{"messages":[]}\n'
    DatasetFiles(store, Buckets.open(settings)).remove("ds-bad", owner="local")
    assert not (settings.home / "buckets" / "training-files" / "ds-bad").exists()


def test_the_service_brings_old_datasets_along_before_it_starts(settings: Settings, store: Store) -> None:
    old_dataset(settings, store, "ds-1", ROWS)
    ports = dict(zip(("port", "mlflow_port", "dashboard_port", "ray_port"), free_ports(4), strict=True))
    prepare(settings.model_copy(update=ports))
    with store.read() as tx:
        assert tx.datasets.get("ds-1").canonical


def test_the_service_does_not_start_with_a_bucket_that_it_cannot_reach_at_all(tmp_path: Path) -> None:
    ports = dict(zip(("port", "mlflow_port", "dashboard_port", "ray_port"), free_ports(4), strict=True))
    with pytest.raises(InvalidRequestError, match="Bucket 'mine': there is no driver for nosuch://"):
        prepare(Settings(home=tmp_path, buckets={"mine": "nosuch://x"}, **ports))
