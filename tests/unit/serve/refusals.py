"""Bad requests to a real server, and what every refusal must look like."""

import contextlib
import http.client
import json
from dataclasses import dataclass
from typing import Any

JOBS = "/api/training/jobs"
DATASETS = "/api/datasets"
SECRET = "hf_canarycanarycanary"
"""Put wherever a reply could repeat what came in."""
LEAKS = (SECRET, "Traceback", 'File "', "sqlalchemy", "pydantic")

Reply = tuple[int, dict[str, str], bytes]


@dataclass
class Server:
    """A server on this machine, and the ids of records in it."""

    port: int
    dataset: str = ""
    job: str = ""
    models: str = ""

    def send(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        chunked = "transfer-encoding" in (headers or {})
        try:
            # A server that has stopped reading has answered; that is there to be read.
            with contextlib.suppress(ConnectionError):
                connection.request(
                    method, path, iter([body]) if chunked else body, headers or {}, encode_chunked=chunked
                )
            reply = connection.getresponse()
            return reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read()
        finally:
            connection.close()

    def post_job(self, config: dict[str, Any], **headers: str) -> Reply:
        return self.send("POST", JOBS, json.dumps(config).encode(), headers)


def error_of(reply: Reply, status: int, code: str, *secrets: str) -> dict[str, Any]:
    """The error in a reply, once it has the one shape, this status and code, and neither a leak nor a secret."""
    found, headers, text = reply
    error: dict[str, Any] = json.loads(text)["error"]
    assert (found, error["code"]) == (status, code), text
    assert set(error) == {"message", "type", "param", "code", "request_id"}
    assert headers["content-type"] == "application/json"
    assert headers["x-request-id"] == error["request_id"]
    assert len(text) < 4000
    for leak in (*LEAKS, *secrets):
        assert leak not in text.decode()
    return error


def code_of(reply: Any) -> tuple[int, str]:
    """The status of a refusal, and the code of its error."""
    return reply.status_code, reply.json()["error"]["code"]
