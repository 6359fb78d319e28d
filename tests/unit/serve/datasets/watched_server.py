"""A server process whose memory is watched while it takes uploads."""

import contextlib
import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

MIB = 1024**2
ROW = b'{"messages":[{"role":"user","content":"' + b"x" * 9000 + b'"},{"role":"assistant","content":"y"}]}\n'
HEADERS = {"x-filename": "a.jsonl", "transfer-encoding": "chunked"}
ROOT = Path(__file__).parents[4]


class WatchedServer:
    """A server process whose largest memory is watched."""

    def __init__(self, home: Path, max_bytes: int, buckets: dict[str, str] | None = None) -> None:
        arguments = [str(home), str(max_bytes), json.dumps(buckets or {})]
        command = [sys.executable, "-m", "tests.unit.serve.datasets.server_process", *arguments]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        assert self.process.stdout
        self.port = int(self.process.stdout.readline())
        self._watched = psutil.Process(self.process.pid)
        self.peak_bytes = 0
        # The first upload has the readers of formats loaded.
        status, body = self.request("POST", "/api/datasets", iter([ROW]), HEADERS)
        assert status == 201, body
        assert self.request("DELETE", f"/api/datasets/{json.loads(body)['id']}", None, {})[0] == 204
        self.start_bytes = self._watched.memory_info().rss
        threading.Thread(target=self._watch, daemon=True).start()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()

    @property
    def growth_bytes(self) -> int:
        return self.peak_bytes - self.start_bytes

    def request(
        self, method: str, path: str, body: Iterable[bytes] | None, headers: dict[str, str]
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=1800)
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
