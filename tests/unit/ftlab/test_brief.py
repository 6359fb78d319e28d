"""The client of short commands: the same replies and the same errors as those of `Client`."""

import socket
import threading

import pytest

from ftlab.client import Client, RetryPolicy
from ftlab.client._sync.transport import Transport
from ftlab.client.brief import BriefClient, BriefTransport
from ftlab.errors import ConflictError, FineTuneLabError, NotFoundError, UnreachableError

ONCE = RetryPolicy(max_retries=0)
KINDS = (Client, BriefClient)


def message_of(client: Client) -> str:
    with client, pytest.raises(FineTuneLabError) as raised:
        client.jobs.get("job-404")
    return f"{type(raised.value).__name__}: {raised.value.message}"


def silent_service(answer: bytes) -> str:
    """The address of a service that reads a request, answers with these bytes, and closes the connection."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        with listener:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_jobs_and_errors_are_the_same(fake):
    fake.add_job(2)
    clients = [kind(fake.url, api_key="ftl_secret", retry=ONCE) for kind in KINDS]
    full, brief = ([list(client.jobs.list(limit=5)), client.queue(limit=3)] for client in clients)
    assert brief == full
    for client in clients:
        with pytest.raises(NotFoundError, match="job-404"):
            client.jobs.get("job-404")
    clients[1].jobs.cancel("job-001")
    for client in clients:
        with pytest.raises(ConflictError):
            client.jobs.cancel("job-001")


def test_nothing_that_answers_is_the_same_error():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    full, brief = (message_of(kind(url, "", retry=ONCE)) for kind in KINDS)
    assert brief == full
    assert brief.startswith(f"{UnreachableError.__name__}: Nothing answers at {url}")


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{", b"nonsense\r\n\r\n"])
def test_a_connection_that_breaks_is_the_same_kind_of_error(answer):
    full, brief = (message_of(kind(silent_service(answer), "", retry=ONCE)) for kind in KINDS)
    assert "broke before the reply arrived" in full
    assert "broke before the reply arrived" in brief


def test_a_service_that_does_not_answer_in_time():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        full, brief = (message_of(kind(url, "", timeout_s=0.1, retry=ONCE)).replace(url, "") for kind in KINDS)
    assert brief == full
    assert "no answer in time" in brief


def test_only_plain_http_to_this_machine_is_brief():
    addresses = ("http://127.0.0.1:1", "http://service.example", "https://127.0.0.1:1")
    kinds = [type(BriefClient(address, "")._transport) for address in addresses]
    assert kinds == [BriefTransport, Transport, Transport]
