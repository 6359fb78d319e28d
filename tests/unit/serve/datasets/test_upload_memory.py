"""However much is sent, the server's memory stays flat."""

import hashlib
import time

import pytest

from ftlab.client import Client
from tests.unit.serve.datasets.watched_server import HEADERS, MIB, ROW, WatchedServer


@pytest.fixture
def start(tmp_path):
    servers = []

    def start(max_bytes: int) -> WatchedServer:
        servers.append(WatchedServer(tmp_path / "home", max_bytes))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def test_an_endless_body_is_cut_off(start, tmp_path):
    server = start(8 * MIB)
    sent = 0

    def endless():
        nonlocal sent
        while True:
            sent += MIB
            yield b"x" * MIB

    for path, limit in (("/api/datasets", 8 * MIB), ("/api/training/jobs", MIB)):
        sent = 0
        started = time.monotonic()
        try:
            status, _ = server.request("POST", path, endless(), HEADERS)
        except ConnectionError:
            # A client that never stops sending may find the connection gone before it reads the answer.
            status = 413
        assert status == 413
        assert sent > limit
        assert time.monotonic() - started < 30
    assert server.growth_bytes < 40 * MIB
    assert list((tmp_path / "home" / "uploads").rglob("*")) == []
    assert server.request("GET", "/health", None, {})[0] == 200


@pytest.mark.slow
def test_two_hundred_megabytes_stream_to_the_disk(start, tmp_path):
    server = start(300 * MIB)
    num_rows = 200 * MIB // len(ROW)
    digest = hashlib.sha256()

    def rows():
        block = ROW * 100
        for _ in range(num_rows // 100):
            digest.update(block)
            yield block

    status, body = server.request("POST", "/api/datasets", rows(), HEADERS)
    assert status == 201, body
    assert digest.hexdigest().encode() in body
    assert server.growth_bytes < 50 * MIB


@pytest.mark.slow
def test_pieces_take_no_more_memory(start, tmp_path):
    server = start(300 * MIB)
    file = tmp_path / "a.jsonl"
    with file.open("wb") as out:
        for _ in range(100 * MIB // len(ROW) // 100):
            out.write(ROW * 100)
    with Client(f"http://127.0.0.1:{server.port}") as client:
        dataset = client.datasets.upload(file)
    with file.open("rb") as content:
        assert dataset.sha256 == hashlib.file_digest(content, "sha256").hexdigest()
    assert server.growth_bytes < 50 * MIB
