"""Files of a whole service: large ones come through faults, and training reads from a bucket on S3."""

import hashlib
import urllib.request
from pathlib import Path

import httpx2
import pytest

from ftlab import Client
from ftlab.client import uploads
from ftlab.schemas import Job
from ftlab.status import JobStatus
from tests.support.lab import Lab, rows

MIB = 1024**2


@pytest.fixture
def large_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Large enough to go in pieces, which are small here."""
    monkeypatch.setattr(uploads, "PIECES_FROM_BYTES", MIB)
    monkeypatch.setattr(uploads, "PIECE_BYTES", 4 * MIB)
    file = tmp_path / "large.jsonl"
    file.write_text(rows(300_000))
    return file


@pytest.mark.slow
def test_an_upload_in_pieces_survives_the_death_of_every_replica(client: Client, lab: Lab, large_file: Path) -> None:
    size_bytes = large_file.stat().st_size
    killed: list[int] = []

    def kill_halfway(done: int, total: int | None) -> None:
        if done > size_bytes // 2 and not killed:
            for replica in lab.find("ray::ServeReplica"):
                killed.append(replica.pid)
                replica.kill()

    dataset = client.datasets.upload(large_file, on_progress=kill_halfway)
    assert len(killed) == lab.settings.api_replicas
    with large_file.open("rb") as file:
        assert dataset.sha256 == hashlib.file_digest(file, "sha256").hexdigest()
    assert dataset.num_rows == 300_000
    assert [found.id for found in client.datasets.list() if found.sha256 == dataset.sha256] == [dataset.id]
    client.datasets.delete(dataset.id)
    assert not (lab.settings.home / "buckets" / dataset.bucket / "blobs" / dataset.sha256).exists()


def test_training_reads_from_a_bucket_on_s3(client: Client, lab: Lab, ended_early: Job, tmp_path: Path) -> None:
    dataset, content = client.datasets.get(ended_early.datasets[0]), rows(48).encode()
    assert (dataset.bucket, ended_early.status) == ("remote", JobStatus.COMPLETED)
    assert not (lab.settings.home / "buckets" / "remote").exists()
    cached = list((lab.settings.home / "cache" / "files" / "remote").rglob("*.arrow"))
    assert len(cached) == 1
    with urllib.request.urlopen(client.datasets.url(dataset.id).url) as presigned:
        assert presigned.read() == content
    moved = client.datasets.move(dataset.id, "lora-datasets")
    assert (moved.id, moved.bucket) == (dataset.id, "lora-datasets")
    assert client.datasets.download(dataset.id, tmp_path / "again").read_bytes() == content
    assert httpx2.get(client.datasets.url(dataset.id).url).content == content
    assert [row.line for row in client.datasets.preview(moved.id).rows] == [1, 2, 3, 4, 5]
