"""A disk that fills up is named, and never filled to the brim."""

import errno
import gzip
import io
import json
import shutil

import pyarrow as pa
import pytest
from pyarrow import parquet

from ftlab.files import MIN_FREE_BYTES
from serve.datasets import preview
from tests.unit.serve.datasets.test_routes import files, send


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.parquet.gz"])
def test_what_a_small_file_becomes_leaves_space_to_the_jobs(client, settings, monkeypatch, name):
    """As on a disk with room for the file as it comes and for 4 MiB more."""
    rows = [{"prompt": str(number), "completion": "x" * 400} for number in range(20_000)]
    content = "\n".join(map(json.dumps, rows)).encode()
    if ".parquet" in name:
        file = io.BytesIO()
        parquet.write_table(pa.Table.from_pylist(rows), file, compression="none", use_dictionary=False)
        content = file.getvalue()
    packed = gzip.compress(content)

    def usage(path):
        used = sum(file.stat().st_size for file in settings.home.rglob("*") if file.is_file())
        return shutil._ntuple_diskusage(10**12, 0, MIN_FREE_BYTES + 4 * 1024**2 - used)

    assert len(packed) < 1024**2
    monkeypatch.setattr(shutil, "disk_usage", usage)
    reply = send(client, packed, name)
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "disk_full")
    assert files(settings) == []


def test_a_disk_that_fills_up_where_nobody_expects_it_is_named_too(client, monkeypatch):
    dataset = send(client).json()["id"]

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(preview, "preview", full)
    reply = client.get(f"/api/datasets/{dataset}/preview")
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "disk_full")
    assert reply.headers["retry-after"]
