"""Mails to a real SMTP server."""

import email
import email.policy
from collections.abc import Iterator

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from cluster.machine.ports import free_ports
from ftlab.schemas.notifications import Notification, NotificationKind
from ftlab.settings import Settings
from tests.unit.tracking.samples import NOW
from tracking.notifications.mail import send_mail
from tracking.notifications.outcomes import Undeliverable

FAILED = Notification(
    id="ntf-1",
    kind=NotificationKind.FAILED,
    job_id="job-1",
    job_name="naïve",
    title="naïve\nBcc: everyone@example.com failed",
    message="It failed. 'ftlab why job-1' shows the evidence.",
    at=NOW,
)
PASSWORD = "canary-4711"


class Sink:
    """Keeps mails; refuses the address `nobody@...`, and everything while `status` is set."""

    def __init__(self) -> None:
        self.mails: list[email.message.EmailMessage] = []
        self.recipients: list[list[str]] = []
        self.status = ""

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody@"):
            return "550 No such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        if self.status:
            return self.status
        self.mails.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        self.recipients.append(envelope.rcpt_tos)
        return "250 OK"


def authenticate(server, session, envelope, mechanism, data):
    is_known = (data.login, data.password) == (b"ftlab@example.com", PASSWORD.encode())
    return AuthResult(success=is_known, handled=False)


@pytest.fixture
def sink() -> Iterator[tuple[Sink, Settings]]:
    handler = Sink()
    [port] = free_ports(1)
    controller = Controller(
        handler, hostname="127.0.0.1", port=port, authenticator=authenticate, auth_require_tls=False
    )
    controller.start()
    url = f"smtp://ftlab%40example.com@127.0.0.1:{port}"
    yield handler, Settings(smtp_url=url, smtp_password=PASSWORD, smtp_from="Lab <lab@example.com>")
    controller.stop()


def test_a_mail_says_what_happened_and_where_to_look(sink):
    handler, settings = sink
    send_mail("me@example.com", FAILED, settings)
    [mail] = handler.mails
    assert handler.recipients == [["me@example.com"]]
    assert mail["Subject"] == "[ftlab] naïve Bcc: everyone@example.com failed"
    assert (mail["From"], mail["To"], mail["Bcc"]) == ("Lab <lab@example.com>", "me@example.com", None)
    assert mail["Message-ID"] == "<ntf-1@example.com>"
    text = mail.get_content()
    assert text.startswith(FAILED.message)
    assert "http://127.0.0.1:8000/api/training/jobs/job-1" in text


@pytest.mark.parametrize(
    ("address", "status", "changes", "is_refusal"),
    [
        ("nobody@example.com", "", {}, True),
        ("me@example.com", "554 Rejected", {}, True),
        ("me@example.com", "451 Try later", {}, False),
        ("me@example.com", "", {"smtp_password": "wrong"}, False),
        ("me@example.com", "", {"smtp_url": "smtp://127.0.0.1:9"}, False),
        ("me@example.com", "", {"smtp_url": "smtp://no-such-host.invalid"}, False),
    ],
)
def test_what_the_server_refuses(sink, address, status, changes, is_refusal):
    handler, settings = sink
    handler.status = status
    with pytest.raises(Undeliverable) as failed:
        send_mail(address, FAILED, settings.model_copy(update=changes))
    assert failed.value.is_refusal is is_refusal
    assert PASSWORD not in failed.value.message
    assert handler.mails == []
