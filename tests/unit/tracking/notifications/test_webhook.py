"""Deliveries to a real HTTP server: what it gets, and what its answers mean."""

import contextlib
import socket
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ftlab.schemas.notifications import Notification, NotificationKind, WebhookFormat
from tests.unit.tracking.notifications.receiver import SECRET, Receiver, receiving
from tests.unit.tracking.samples import NOW
from tracking.notifications import webhook
from tracking.notifications.outcomes import Undeliverable
from tracking.notifications.webhook import body_of, send_webhook, signed_headers

HERE = ("127.0.0.1",)
FAILED = Notification(
    id="ntf-1",
    kind=NotificationKind.FAILED,
    job_id="job-1",
    job_name="naïve",
    event_seq=7,
    title="naïve failed",
    message="It failed.",
    reason="device_oom",
    cause="gpu_memory",
    at=NOW,
    read_at=NOW,
)


@pytest.fixture(scope="module")
def server():
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def receiver(server: Receiver):
    server.received.clear()
    server.ids.clear()
    server.answers.clear()
    return server


def send(url, secret=SECRET, hosts=HERE):
    body = body_of(FAILED, WebhookFormat.FTLAB)
    send_webhook(url, secret, FAILED.id, body, private_hosts=hosts, now=datetime.now(UTC))


def test_the_reference_library_verifies_the_signature(receiver):
    send(receiver.url)
    assert receiver.received == [
        {
            "type": "job.failed",
            "timestamp": "2026-03-01T12:00:00.123456Z",
            "data": FAILED.model_dump(mode="json", exclude={"read_at"}),
        }
    ]
    assert receiver.ids == ["ntf-1"]


def test_the_signature_of_the_specification():
    """The example of the Standard Webhooks specification."""
    headers = signed_headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        b'{"test": 2432232314}',
        webhook.secret_bytes("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        datetime.fromtimestamp(1614265330, UTC),
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert headers["webhook-timestamp"] == "1614265330"


@pytest.mark.parametrize(
    ("status", "is_refusal", "is_gone"),
    [
        *((status, False, False) for status in (500, 503, 429, 408)),
        *((status, True, False) for status in (400, 401, 404, 302)),
        (410, True, True),
    ],
)
def test_what_a_status_means(receiver, status, is_refusal, is_gone):
    receiver.answers = [(status, {"location": receiver.url})]
    with pytest.raises(Undeliverable, match=str(status)) as failed:
        send(receiver.url)
    assert (failed.value.is_refusal, failed.value.is_gone) == (is_refusal, is_gone)
    assert len(receiver.ids) == 1, "a redirect is not followed"


def test_retry_after_is_read_as_seconds_and_as_a_date(receiver):
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    receiver.answers = [(503, {"retry-after": text}) for text in ("120", date, "soon")]
    waits = []
    for _ in range(3):
        with pytest.raises(Undeliverable) as failed:
            send(receiver.url)
        waits.append(failed.value.retry_after_s)
    assert waits == [120.0, pytest.approx(100, abs=3), None]


def test_private_addresses_are_not_connected_to(receiver):
    for url in (receiver.url, receiver.url.replace("127.0.0.1", "localhost")):
        with pytest.raises(Undeliverable, match="private"):
            send(url, hosts=("other.lan",))
    assert receiver.ids == []


def test_the_checked_address_is_the_one_that_is_used(receiver, monkeypatch):
    """A name that resolves differently the second time leads nowhere else."""
    answers = iter(["127.0.0.1"])
    real = socket.getaddrinfo

    def lookup(host, port, *more, **named):
        return real(next(answers) if host == "hook.example" else host, port, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    send(receiver.url.replace("127.0.0.1", "hook.example"), hosts=("hook.example",))
    assert receiver.ids == ["ntf-1"]


def test_nobody_there():
    with pytest.raises(Undeliverable, match="The connection to"):
        send("http://127.0.0.1:9/x")
    with pytest.raises(Undeliverable, match="cannot be resolved"):
        send("http://no-such-host.invalid/x")


def test_a_receiver_that_answers_byte_by_byte_is_left(monkeypatch):
    monkeypatch.setattr(webhook, "TIMEOUT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            connection, _ = listener.accept()
            with connection:
                while True:
                    try:
                        connection.send(b"H")
                    except OSError:
                        return
                    time.sleep(0.05)

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        begin = time.monotonic()
        with pytest.raises(Undeliverable):
            send(f"http://127.0.0.1:{listener.getsockname()[1]}/x")
        assert time.monotonic() - begin < 3
        thread.join(5)


def test_an_endless_answer_is_not_read():
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def flood() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.send(b"HTTP/1.1 200 OK\r\n\r\n")
                try:
                    while True:
                        connection.send(b"x" * 65536)
                except OSError:
                    return

        thread = threading.Thread(target=flood, daemon=True)
        thread.start()
        send(f"http://127.0.0.1:{listener.getsockname()[1]}/x")
        thread.join(5)
        assert not thread.is_alive()


@pytest.fixture
def tls_port(tmp_path, monkeypatch):
    """The port of a TLS server whose certificate is for `hook.example`, which this process trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "hook.example")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("hook.example")]), critical=False)
        .sign(key, SHA256())
    )
    file = tmp_path / "tls.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(certificate.public_bytes(Encoding.PEM) + private)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)

    def answer() -> None:
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            with context.wrap_socket(connection, server_side=True) as secured:
                received = b""
                while not received.endswith(b"}}"):
                    received += secured.recv(65536)
                secured.send(b"HTTP/1.1 204 No Content\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(5)


@pytest.mark.parametrize(("host", "is_sent"), [("hook.example", True), ("other.example", False)])
def test_the_certificate_is_checked_for_the_name_although_the_address_is_used(tls_port, monkeypatch, host, is_sent):
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda name, *more, **named: real("127.0.0.1" if name == host else name, *more, **named)
    )
    expected = contextlib.nullcontext() if is_sent else pytest.raises(Undeliverable, match="The connection to")
    with expected:
        send(f"https://{host}:{tls_port}/x", hosts=(host,))
