"""Rows and files together: the same content once, and gone with the last dataset that needs it."""

import contextlib
import random
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ftlab.errors import ConflictError, NotFoundError, ServiceUnavailableError
from tests.unit.tracking.samples import add_job, at_once, dataset
from tracking.buckets import Buckets, Contents, DatasetFiles, Storage, blob_key, canonical_key
from tracking.buckets.contents import CLAIM_TTL_S
from tracking.store import Store
from tracking.store.ids import new_id
from tracking.store.records import DatasetRecord

SHA = "a" * 64
PLACES = [
    ("sqlite", "folder"),
    ("postgresql", "folder"),
    ("sqlite", "s3"),
    ("postgresql", "gcs"),
    ("sqlite", "memory"),
]
"""Each kind of database and of bucket, and each with another partner."""
everywhere = pytest.mark.parametrize(("store_url", "url"), PLACES, indirect=True)


class Clock:
    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def canonical(tmp_path: Path) -> Path:
    file = tmp_path / "canonical"
    file.write_bytes(b"rows" * 100)
    return file


@pytest.fixture
def files(store: Store, buckets: Buckets) -> DatasetFiles:
    return DatasetFiles(store, buckets)


def record(bucket: str = "mine", sha256: str = SHA, *, mapping: str = "", owner: str = "local") -> DatasetRecord:
    return replace(
        dataset(new_id("ds"), owner=owner),
        bucket=bucket,
        sha256=sha256,
        canonical=canonical_key(sha256, version="1", format="csv", shape="text", columns={"text": mapping}),
    )


def add(files: DatasetFiles, new: DatasetRecord, source: Path, canonical: Path) -> DatasetRecord:
    files.add(new, source, canonical, lambda tx: None)
    return new


def keys(one: DatasetRecord) -> tuple[str, str]:
    return blob_key(one.sha256), one.canonical


def has(buckets: Buckets, one: DatasetRecord) -> list[bool]:
    storage = buckets.storage(one.bucket)
    return [storage.size_of(key) is not None for key in keys(one)]


def claims(store: Store) -> list[str]:
    with store.read() as tx:
        return [claim.sha256 for claim in tx.claims.expired(now=datetime.max.replace(tzinfo=UTC))]


@everywhere
def test_the_same_content_is_stored_once_and_goes_with_its_last_dataset(
    files: DatasetFiles, store: Store, buckets: Buckets, file: Path, canonical: Path
) -> None:
    first, second = (add(files, record(), file, canonical) for _ in range(2))
    other_mapping = add(files, record(mapping="x"), file, canonical)
    files.remove(first.id, owner="local")
    assert has(buckets, second) == has(buckets, other_mapping) == [True, True]
    files.remove(other_mapping.id, owner="local")
    assert has(buckets, second) == [True, True]
    assert has(buckets, other_mapping) == [True, False]
    files.remove(second.id, owner="local")
    assert has(buckets, second) == [False, False]
    assert claims(store) == []


@everywhere
def test_nothing_stays_of_a_dataset_whose_row_is_refused(
    files: DatasetFiles, store: Store, buckets: Buckets, file: Path, canonical: Path
) -> None:
    def refuse(tx: object) -> None:
        raise ConflictError("no")

    new = record()
    with pytest.raises(ConflictError):
        files.add(new, file, canonical, refuse)
    assert has(buckets, new) == [False, False]
    kept = add(files, record(), file, canonical)
    with pytest.raises(ConflictError):
        files.add(new, file, canonical, refuse)
    assert has(buckets, kept) == [True, True]
    assert claims(store) == []


@pytest.mark.parametrize("url", [""])
def test_no_mix_of_uploads_and_deletes_leaves_a_row_without_its_files(
    files: DatasetFiles, store: Store, buckets: Buckets, file: Path, canonical: Path
) -> None:
    """Several requests at once put, remove and move datasets of the same two contents."""

    def work(number: int) -> int:
        chance = random.Random(number)
        mine: list[str] = []
        for _ in range(12):
            action = chance.random()
            if action < 0.5 or not mine:
                new = record(chance.choice(["mine", "training-files"]), chance.choice("ab") * 64)
                mine.append(add(files, new, file, canonical).id)
            elif action < 0.85:
                files.remove(mine.pop(chance.randrange(len(mine))), owner="local")
            else:
                files.move(chance.choice(mine), owner="local", bucket=chance.choice(["mine", "training-files"]))
        return len(mine)

    done = at_once(4, work)
    assert all(isinstance(count, int) for count in done), done
    with store.read() as tx:
        rows = tx.datasets.list(owner="local", limit=100)
    assert len(rows) == sum(count for count in done if isinstance(count, int))
    assert all(has(buckets, row) == [True, True] for row in rows)
    files.sweep()
    for row in rows:
        files.remove(row.id, owner="local")
    left = [
        buckets.storage(name).keys(folder) for name in ("mine", "training-files") for folder in ("blobs/", "canonical/")
    ]
    assert left == [[], [], [], []]
    assert claims(store) == []


@everywhere
def test_a_remover_that_comes_between_files_and_row_leaves_the_files(
    files: DatasetFiles, buckets: Buckets, file: Path, canonical: Path
) -> None:
    """The worst moment: the new dataset's files were found there, and its row is not yet."""
    old = add(files, record(), file, canonical)
    new = record()
    contents = files._contents
    with contents.claimed(new.bucket, new.sha256) as claim:
        contents.put(claim, blob_key(new.sha256), file)
        contents.put(claim, new.canonical, canonical)
        files.remove(old.id, owner="local")
        with files._store.begin() as tx:
            tx.datasets.add(new)
            claim.release(tx)
    assert has(buckets, new) == [True, True]
    files.remove(new.id, owner="local")
    assert has(buckets, new) == [False, False]


@pytest.mark.parametrize("url", [""])
def test_an_uploader_waits_for_a_remover_that_has_begun(
    store: Store, buckets: Buckets, file: Path, canonical: Path
) -> None:
    clock = Clock()
    files = DatasetFiles(store, buckets, Contents(store, buckets, clock, clock.sleep))
    old = add(files, record(), file, canonical)
    with store.begin() as tx:
        tx.datasets.remove(old.id, owner="local")
        claim = files._contents.claim_removed(tx, old)
    assert claim is not None
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        clock.sleep(seconds)
        if len(waited) == 3:
            files._contents.remove_unneeded(claim)

    new = record()
    DatasetFiles(store, buckets, Contents(store, buckets, clock, sleep)).add(new, file, canonical, lambda tx: None)
    assert len(waited) == 3
    assert has(buckets, new) == [True, True]


@pytest.mark.parametrize("url", [""])
def test_what_a_killed_process_left_is_swept_and_never_blocks_for_long(
    store: Store, buckets: Buckets, file: Path, canonical: Path
) -> None:
    clock = Clock()
    files = DatasetFiles(store, buckets, Contents(store, buckets, clock, clock.sleep))
    new = record()
    with store.begin() as tx:
        assert tx.claims.take(new.bucket, new.sha256, "killed", ttl_s=CLAIM_TTL_S, now=clock())
    buckets.storage("mine").put(blob_key(new.sha256), file)
    files.sweep()
    assert has(buckets, new) == [True, False]
    started = clock()
    kept = add(files, record(), file, canonical)
    assert timedelta(0) < clock() - started < timedelta(seconds=2 * CLAIM_TTL_S)
    files.remove(kept.id, owner="local")
    with store.begin() as tx:
        assert tx.claims.take(new.bucket, new.sha256, "killed", ttl_s=CLAIM_TTL_S, now=clock())
    buckets.storage("mine").put(blob_key(new.sha256), file)
    clock.sleep(CLAIM_TTL_S)
    files.sweep()
    assert has(buckets, new) == [False, False]
    assert claims(store) == []


@pytest.mark.parametrize("url", [""])
def test_a_claim_that_was_lost_adds_no_row(store: Store, buckets: Buckets, file: Path, canonical: Path) -> None:
    """A process that stood still finds out before its row would refer to files that are gone."""
    clock = Clock()
    files = DatasetFiles(store, buckets, Contents(store, buckets, clock, clock.sleep))
    other = DatasetFiles(store, buckets, Contents(store, buckets, clock, clock.sleep))
    new = record()

    def add_late() -> None:
        with files._contents.claimed(new.bucket, new.sha256) as claim:
            files._contents.put(claim, blob_key(new.sha256), file)
            clock.sleep(2 * CLAIM_TTL_S)
            other.sweep()
            with store.begin() as tx:
                tx.datasets.add(new)
                claim.release(tx)

    with pytest.raises(ServiceUnavailableError):
        add_late()
    with store.read() as tx:
        assert tx.datasets.list(owner="local") == []
    assert has(buckets, new) == [False, False]


@pytest.mark.parametrize("url", [""])
def test_whoever_has_lost_a_claim_removes_nothing(store: Store, buckets: Buckets, file: Path, canonical: Path) -> None:
    """The next one has put the same files already, and its row is not there yet."""
    clock = Clock()
    contents = Contents(store, buckets, clock, clock.sleep)
    new = record()
    with contextlib.ExitStack() as stack:
        with contents.claimed(new.bucket, new.sha256):
            clock.sleep(2 * CLAIM_TTL_S)
            claim = stack.enter_context(contents.claimed(new.bucket, new.sha256))
            for key, path in ((blob_key(new.sha256), file), (new.canonical, canonical)):
                contents.put(claim, key, path)
        assert has(buckets, new) == [True, True]
    assert has(buckets, new) == [False, False]


@everywhere
def test_a_move_keeps_the_id_and_leaves_nothing_behind(
    files: DatasetFiles, store: Store, buckets: Buckets, file: Path, canonical: Path
) -> None:
    one, twin = (add(files, record(), file, canonical) for _ in range(2))
    moved = files.move(one.id, owner="local", bucket="lora-datasets")
    assert (moved.id, moved.bucket) == (one.id, "lora-datasets")
    assert has(buckets, moved) == has(buckets, twin) == [True, True]
    assert files.move(twin.id, owner="local", bucket="lora-datasets").bucket == "lora-datasets"
    assert has(buckets, one) == [False, False]
    assert files.move(one.id, owner="local", bucket="lora-datasets") == moved
    back = files.move(one.id, owner="local", bucket="mine")
    assert has(buckets, back) == [True, True]
    assert buckets.local_path("mine", blob_key(back.sha256)).read_bytes() == file.read_bytes()
    assert claims(store) == []


@pytest.mark.parametrize(("store_url", "url"), PLACES[1:3], indirect=True)
@pytest.mark.parametrize("moment", ["before it is found", "after it is found"])
@pytest.mark.parametrize("target", ["training-files", "lora-datasets", None])
def test_a_move_that_another_request_overtakes(
    files: DatasetFiles,
    store: Store,
    buckets: Buckets,
    file: Path,
    canonical: Path,
    monkeypatch: pytest.MonkeyPatch,
    target: str | None,
    moment: str,
) -> None:
    """The other one moves the dataset to the same place, or to another, or removes it."""
    one = add(files, record(), file, canonical)
    other = DatasetFiles(store, buckets)

    def overtake() -> None:
        monkeypatch.undo()
        if target is None:
            other.remove(one.id, owner="local")
        else:
            other.move(one.id, owner="local", bucket=target)
        for key in keys(one):
            buckets.cached_path("mine", key).unlink(missing_ok=True)

    def late(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            overtake()
            return function(*args)

        return call

    if moment == "before it is found":
        monkeypatch.setattr(buckets, "local_path", late(buckets.local_path))
    else:
        monkeypatch.setattr(files._contents, "claimed", late(files._contents.claimed))
    if target is None:
        with pytest.raises(NotFoundError) as caught:
            files.move(one.id, owner="local", bucket="training-files")
        assert caught.value.code == "dataset_not_found"
    else:
        moved = files.move(one.id, owner="local", bucket="training-files")
        assert moved == replace(one, bucket="training-files")
        assert has(buckets, moved) == [True, True]
    assert has(buckets, one) == has(buckets, replace(one, bucket="lora-datasets")) == [False, False]
    assert claims(store) == []


@pytest.mark.parametrize("url", [""])
def test_a_dataset_whose_file_is_really_gone_is_not_moved(
    files: DatasetFiles, buckets: Buckets, file: Path, canonical: Path
) -> None:
    one = add(files, record(), file, canonical)
    buckets.storage("mine").remove(one.canonical)
    with pytest.raises(NotFoundError) as caught:
        files.move(one.id, owner="local", bucket="training-files")
    assert caught.value.code == "dataset_content_missing"


@pytest.mark.parametrize("url", [""])
def test_of_two_removals_at_once_one_removes_the_files(
    files: DatasetFiles, store: Store, buckets: Buckets, file: Path, canonical: Path
) -> None:
    """Neither sees on PostgreSQL that the other one's row is going."""
    first, second = (add(files, record(), file, canonical) for _ in range(2))
    other = threading.Thread(target=files.remove, args=(second.id,), kwargs={"owner": "local"})
    with store.begin() as tx:
        tx.datasets.remove(first.id, owner="local")
        claim = files._contents.claim_removed(tx, first)
        other.start()
        other.join(0.5)  # it waits for this transaction now, or is done
    if claim is not None:
        files._contents.remove_unneeded(claim)
    other.join()
    assert has(buckets, first) == [False, False]
    assert claims(store) == []


@pytest.mark.parametrize("url", [""])
def test_a_removal_while_another_one_removes_files_of_the_same_content(
    files: DatasetFiles, store: Store, buckets: Buckets, file: Path, canonical: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It finds the claim taken, and leaves its own files to the holder."""
    first, second = add(files, record(mapping="x"), file, canonical), add(files, record(), file, canonical)
    storage = buckets.storage("mine")
    remove = storage.remove

    def remove_late(key: str) -> None:
        monkeypatch.undo()
        files.remove(second.id, owner="local")
        remove(key)

    monkeypatch.setattr(storage, "remove", remove_late)
    files.remove(first.id, owner="local")
    assert has(buckets, first) == has(buckets, second) == [False, False]
    assert claims(store) == []


@pytest.mark.parametrize("url", [""])
def test_what_a_job_needs_is_neither_removed_nor_moved(
    files: DatasetFiles, store: Store, buckets: Buckets, file: Path, canonical: Path
) -> None:
    one = add(files, record(), file, canonical)
    add_job(store, config={"dataset": one.id})
    for change in (
        lambda: files.remove(one.id, owner="local"),
        lambda: files.move(one.id, owner="local", bucket="lora-datasets"),
    ):
        with pytest.raises(ConflictError) as caught:
            change()
        assert caught.value.code == "dataset_in_use"
    assert has(buckets, one) == [True, True]
    for change in (
        lambda: files.remove(one.id, owner="bob"),
        lambda: files.move("ds-none", owner="local", bucket="mine"),
    ):
        with pytest.raises(NotFoundError):
            change()


@pytest.mark.parametrize("url", [""])
def test_a_bucket_that_is_away_while_removing_is_cleared_later(
    files: DatasetFiles, store: Store, buckets: Buckets, file: Path, canonical: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = add(files, record(), file, canonical)
    storage: Storage = buckets.storage("mine")

    def away(key: str) -> None:
        raise ServiceUnavailableError("away", "bucket_unavailable")

    with monkeypatch.context() as patch:
        patch.setattr(storage, "remove", away)
        files.remove(one.id, owner="local")
    assert has(buckets, one) == [True, True]
    clock = Clock()
    clock.sleep(2 * CLAIM_TTL_S)
    Contents(store, buckets, clock, clock.sleep).sweep()
    assert has(buckets, one) == [False, False]
