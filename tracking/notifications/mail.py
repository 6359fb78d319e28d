"""Delivery by mail, through the SMTP server of the settings."""

import smtplib
import socket
import ssl
from email.message import EmailMessage
from email.utils import format_datetime
from urllib.parse import unquote, urlsplit

from ftlab.schemas.notifications import Notification
from ftlab.settings import LOOPBACK_HOSTS, Settings
from tracking.notifications.outcomes import Undeliverable

TIMEOUT_S = 15.0
PORTS = {"smtp": 587, "smtps": 465}


def send_mail(address: str, notification: Notification, settings: Settings) -> None:
    """Mail the notification. Raises `Undeliverable`."""
    message = to_mail(address, notification, settings)
    assert settings.smtp_url is not None
    host = urlsplit(settings.smtp_url).hostname
    try:
        _send(message, settings)
    except smtplib.SMTPRecipientsRefused:
        raise Undeliverable(f"The mail server {host} refused the address.", is_refusal=True) from None
    except smtplib.SMTPAuthenticationError:
        raise Undeliverable(
            f"The mail server {host} refused the login: check the settings smtp_url and smtp_password."
        ) from None
    except smtplib.SMTPResponseException as error:
        is_refusal = error.smtp_code >= 500
        raise Undeliverable(
            f"The mail server {host} answered with status {error.smtp_code}.", is_refusal=is_refusal
        ) from None
    except (smtplib.SMTPException, OSError) as error:
        raise Undeliverable(f"The mail server {host} could not be used ({type(error).__name__}).") from None


def to_mail(address: str, notification: Notification, settings: Settings) -> EmailMessage:
    """The mail about a notification. Its Message-ID stays the same when the delivery is repeated."""
    sender = settings.smtp_from or f"ftlab@{socket.gethostname()}"
    mail = EmailMessage()
    mail["Subject"] = " ".join(f"[ftlab] {notification.title}".split())
    mail["From"] = sender
    mail["To"] = address
    mail["Date"] = format_datetime(notification.at)
    mail["Message-ID"] = f"<{notification.id}@{sender.rpartition('@')[2].strip('> ')}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(mail_text(notification, settings.server_url))
    return mail


def mail_text(notification: Notification, server_url: str) -> str:
    """The notification as text, with where to look."""
    lines = [notification.message, ""]
    if notification.job_id:
        lines += [
            f"Job:     {notification.job_name} ({notification.job_id})",
            f"Details: {server_url}/api/training/jobs/{notification.job_id}",
            f"         ftlab show {notification.job_id}",
        ]
    return "\n".join(lines).strip() + "\n"


def _send(message: EmailMessage, settings: Settings) -> None:
    parts = urlsplit(settings.smtp_url or "")
    host, port = parts.hostname or "", parts.port or PORTS[parts.scheme]
    tls = ssl.create_default_context()
    if parts.scheme == "smtps":
        server: smtplib.SMTP = smtplib.SMTP_SSL(host, port, timeout=TIMEOUT_S, context=tls)
    else:
        server = smtplib.SMTP(host, port, timeout=TIMEOUT_S)
    with server:
        if parts.scheme == "smtp" and host not in LOOPBACK_HOSTS:
            server.starttls(context=tls)
        if parts.username is not None:
            server.login(unquote(parts.username), settings.smtp_password or "")
        server.send_message(message)
