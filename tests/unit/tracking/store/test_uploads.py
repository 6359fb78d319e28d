"""Uploads in pieces, claims of content, and datasets that jobs with several files need."""

from dataclasses import replace

import pytest
from sqlalchemy import insert

from ftlab.errors import ConflictError, NotFoundError
from ftlab.status import JobStatus
from tests.unit.tracking.samples import NOW, add_job, at_once, dataset, later, reach
from tracking.store import Store
from tracking.store.records import UploadRecord
from tracking.store.rows import job_files


def upload(upload_id: str = "up-1", *, owner: str = "local", size_bytes: int = 100) -> UploadRecord:
    return UploadRecord(
        id=upload_id,
        owner=owner,
        bucket="training-files",
        filename="rows\x00.jsonl",
        size_bytes=size_bytes,
        sha256=None,
        received_bytes=0,
        options={"columns": {"prompt": "q"}},
        dataset_id=None,
        created_at=NOW,
        updated_at=NOW,
    )


def add(store: Store, record: UploadRecord) -> None:
    with store.begin() as tx:
        tx.uploads.add(record)


def get(store: Store, upload_id: str = "up-1") -> UploadRecord:
    with store.read() as tx:
        return tx.uploads.get(upload_id, owner="local")


class TestUploads:
    def test_round_trip_and_owner(self, store: Store) -> None:
        add(store, upload(size_bytes=5_000_000_000))
        assert get(store) == replace(upload(size_bytes=5_000_000_000), filename="rows\ufffd.jsonl")
        with store.read() as tx, pytest.raises(NotFoundError) as caught:
            tx.uploads.get("up-1", owner="bob")
        assert caught.value.code == "upload_not_found"

    def test_a_piece_counts_only_where_the_last_one_ended(self, store: Store) -> None:
        add(store, upload())
        with store.begin() as tx:
            assert tx.uploads.advance("up-1", start=0, stop=40, now=later(1))
            assert not tx.uploads.advance("up-1", start=0, stop=50, now=later(2))
            assert not tx.uploads.advance("up-none", start=0, stop=50, now=later(2))
        assert (get(store).received_bytes, get(store).updated_at) == (40, later(1))

    def test_of_pieces_at_once_one_counts(self, store: Store) -> None:
        add(store, upload())

        def advance(number: int) -> bool:
            with store.begin() as tx:
                return tx.uploads.advance("up-1", start=0, stop=number + 1, now=NOW)

        assert sorted(at_once(4, advance), key=str) == [False, False, False, True]

    def test_completed_once(self, store: Store) -> None:
        add(store, upload())
        with store.begin() as tx:
            assert tx.uploads.complete("up-1", "ds-1", now=later(5))
            assert not tx.uploads.complete("up-1", "ds-2", now=later(6))
            assert not tx.uploads.advance("up-1", start=0, stop=1, now=later(6))
            assert not tx.uploads.complete("up-none", "ds-2", now=later(6))
        assert (get(store).dataset_id, get(store).updated_at) == ("ds-1", later(5))

    def test_open_ones_of_an_owner(self, store: Store) -> None:
        for number, owner in enumerate(("local", "local", "bob", "local")):
            record = upload(f"up-{number}", owner=owner, size_bytes=3_000_000_000)
            add(store, replace(record, created_at=later(number)))
        with store.begin() as tx:
            tx.uploads.complete("up-1", "ds-1", now=NOW)
            assert [record.id for record in tx.uploads.open_of("local")] == ["up-3", "up-0"]
            assert tx.uploads.open_bytes("local") == 6_000_000_000
            assert tx.uploads.open_bytes("nobody") == 0

    def test_begun_again_keeps_what_has_come(self, store: Store) -> None:
        add(store, upload())
        with store.begin() as tx:
            tx.uploads.advance("up-1", start=0, stop=40, now=NOW)
            again = replace(upload(), filename="b.jsonl", options={}, updated_at=later(9))
            tx.uploads.restart(again)
        assert get(store) == replace(again, received_bytes=40)

    def test_only_what_was_not_touched_is_swept(self, store: Store) -> None:
        for number in range(3):
            add(store, replace(upload(f"up-{number}"), updated_at=later(number)))
        with store.begin() as tx:
            assert sorted(tx.uploads.untouched_since(later(1))) == ["up-0", "up-1"]
            tx.uploads.advance("up-1", start=0, stop=1, now=later(5))
            assert tx.uploads.remove("up-0", untouched_since=later(1))
            assert not tx.uploads.remove("up-1", untouched_since=later(1))
            assert tx.uploads.remove("up-1")
            assert not tx.uploads.remove("up-1")


class TestClaims:
    def test_one_holder_until_it_expires(self, store: Store) -> None:
        with store.begin() as tx:
            assert tx.claims.take("b", "s", "one", ttl_s=10, now=NOW)
            assert tx.claims.take("b", "s", "one", ttl_s=20, now=NOW)
            assert not tx.claims.take("b", "s", "two", ttl_s=10, now=later(19))
            assert tx.claims.take("b", "other", "two", ttl_s=10, now=NOW)
            assert tx.claims.take("b", "s", "two", ttl_s=10, now=later(20))
            assert not tx.claims.renew("b", "s", "one", ttl_s=10, now=later(20))
            assert not tx.claims.release("b", "s", "one")
            assert tx.claims.renew("b", "s", "two", ttl_s=10, now=later(25))
            assert [claim.sha256 for claim in tx.claims.expired(now=later(30))] == ["other"]
            assert tx.claims.release("b", "s", "two")
            assert tx.claims.take("b", "s", "one", ttl_s=10, now=later(25))

    def test_of_many_at_once_one_takes_it(self, store: Store) -> None:
        def take(number: int) -> bool:
            with store.begin() as tx:
                return tx.claims.take("b", "s", f"holder-{number}", ttl_s=10, now=NOW)

        assert sorted(at_once(4, take), key=str) == [False, False, False, True]


class TestFilesOfJobs:
    @pytest.mark.parametrize("status", [JobStatus.RUNNING, JobStatus.COMPLETED])
    def test_a_file_of_an_unfinished_job_is_in_use(self, store: Store, status: JobStatus) -> None:
        ref = reach(store, status)
        with store.begin() as tx:
            tx.datasets.add(dataset("ds-2"))
            row = {"job_id": ref.id, "position": 1, "dataset_id": "ds-2", "added_at": NOW}
            tx.datasets._connection.execute(insert(job_files), row)
        if status.is_terminal:
            with store.begin() as tx:
                tx.datasets.relocate("ds-2", owner="local", source="default", target="mine")
                assert tx.datasets.get("ds-2").bucket == "mine"
            return
        for change in ("remove", "relocate"):
            options = {} if change == "remove" else {"source": "default", "target": "mine"}
            with pytest.raises(ConflictError, match=ref.id) as caught, store.begin() as tx:
                getattr(tx.datasets, change)("ds-2", owner="local", **options)
            assert caught.value.code == "dataset_in_use"

    def test_a_move_from_where_it_no_longer_is_is_refused(self, store: Store) -> None:
        add_job(store)
        with store.begin() as tx:
            tx.datasets.add(dataset("ds-2"))
        with pytest.raises(ConflictError), store.begin() as tx:
            tx.datasets.relocate("ds-2", owner="local", source="elsewhere", target="mine")
