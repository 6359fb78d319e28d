"""However much is sent, the server's memory stays flat."""

import contextlib
import hashlib
import http.client
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

MIB = 1024**2
ROW = b'{"messages":[{"role":"user","content":"' + b"x" * 9000 + b'"},{"role":"assistant","content":"y"}]}\n'
ROOT = Path(__file__).parents[3]


class Server:
    """A server process whose largest memory is watched."""

    def __init__(self, home: Path, max_bytes: int) -> None:
        command = [sys.executable, "-m", "tests.unit.serve.server_process", str(home), str(max_bytes)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        assert self.process.stdout
        self.port = int(self.process.stdout.readline())
        self._watched = psutil.Process(self.process.pid)
        self.peak_bytes = 0
        self.request("GET", "/health", None, {})
        self.start_bytes = self._watched.memory_info().rss
        threading.Thread(target=self._watch, daemon=True).start()

    @property
    def growth_bytes(self) -> int:
        return self.peak_bytes - self.start_bytes

    def request(self, method, path, body, headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            # A server that has stopped reading has answered; that is there to be read.
            with contextlib.suppress(ConnectionError):
                connection.request(method, path, body, headers, encode_chunked=body is not None)
            reply = connection.getresponse()
            return reply.status, reply.read()
        finally:
            connection.close()

    def _watch(self) -> None:
        while self.process.poll() is None:
            try:
                self.peak_bytes = max(self.peak_bytes, self._watched.memory_info().rss)
            except psutil.NoSuchProcess:
                return
            time.sleep(0.005)


@pytest.fixture
def start(tmp_path):
    servers = []

    def start(max_bytes: int) -> Server:
        servers.append(Server(tmp_path / "home", max_bytes))
        return servers[-1]

    yield start
    for server in servers:
        server.process.kill()
        server.process.wait()
        server.process.stdout.close()


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
        headers = {"x-filename": "a.jsonl", "transfer-encoding": "chunked"}
        started = time.monotonic()
        try:
            status, _ = server.request("POST", path, endless(), headers)
        except ConnectionError:
            # A client that never stops sending may find the connection gone before it reads the answer.
            status = 413
        assert status == 413
        assert sent > limit
        assert time.monotonic() - started < 30
    assert server.growth_bytes < 40 * MIB
    assert list(tmp_path.glob("home/buckets/*/*")) == []
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

    headers = {"x-filename": "a.jsonl", "transfer-encoding": "chunked"}
    status, body = server.request("POST", "/api/datasets", rows(), headers)
    assert status == 201, body
    assert digest.hexdigest().encode() in body
    assert server.growth_bytes < 60 * MIB
