"""Delivery to a webhook, signed as the Standard Webhooks specification says (standardwebhooks.com)."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Collection
from datetime import datetime
from urllib.parse import urlsplit

import httpx2

from ftlab.backoff import retry_after_s
from ftlab.openai.ids import in_openai_ids
from ftlab.schemas.notifications import Notification, NotificationKind, WebhookFormat
from tracking.notifications.addresses import resolve
from tracking.notifications.outcomes import Undeliverable
from tracking.notifications.targets import secret_bytes

CONNECT_TIMEOUT_S = 5.0
TIMEOUT_S = 15.0
"""For a whole delivery: a receiver that answers byte by byte does not hold it up for longer."""
TEMPORARY = frozenset({408, 425, 429})
GONE = 410


OPENAI_EVENTS = {
    NotificationKind.COMPLETED: "fine_tuning.job.succeeded",
    NotificationKind.FAILED: "fine_tuning.job.failed",
    NotificationKind.CANCELLED: "fine_tuning.job.cancelled",
}
"""Notifications that OpenAI has an event for."""


def send_webhook(
    url: str, secret: str, message_id: str, body: bytes, *, private_hosts: Collection[str], now: datetime
) -> int:
    """POST a body. Returns the status; raises `Undeliverable` unless that is 200 to 299."""
    headers = signed_headers(message_id, body, secret_bytes(secret), now)
    return asyncio.run(_post(url, body, headers, private_hosts))


def body_of(notification: Notification, format: WebhookFormat) -> bytes:
    """What a webhook gets about a notification."""
    kind = OPENAI_EVENTS.get(notification.kind) if format is WebhookFormat.OPENAI else None
    if kind is None or notification.job_id is None:
        return webhook_body(notification)
    return openai_body(notification.id, kind, notification.job_id, notification.at)


def openai_body(message_id: str, kind: str, job_id: str, at: datetime) -> bytes:
    """An event as OpenAI sends it."""
    document = {
        "id": in_openai_ids(message_id),
        "object": "event",
        "created_at": int(at.timestamp()),
        "type": kind,
        "data": {"id": in_openai_ids(job_id)},
    }
    return json.dumps(document, separators=(",", ":")).encode()


def webhook_body(notification: Notification) -> bytes:
    """`{"type": "job.failed", "timestamp": ..., "data": <the notification>}`."""
    data = notification.model_dump(mode="json", exclude={"read_at"})
    subject = "job" if notification.job_id else "channel"
    document = {"type": f"{subject}.{notification.kind.value}", "timestamp": data["at"], "data": data}
    return json.dumps(document, separators=(",", ":")).encode()


def signed_headers(message_id: str, body: bytes, key: bytes, now: datetime) -> dict[str, str]:
    """The headers of the specification. The id stays the same when a delivery is repeated; the time does not."""
    timestamp = str(int(now.timestamp()))
    signed = hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{base64.b64encode(signed).decode()}",
        "content-type": "application/json",
        "user-agent": "ftlab-webhooks",
    }


async def _post(url: str, body: bytes, headers: dict[str, str], private_hosts: Collection[str]) -> int:
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    timeout = httpx2.Timeout(TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            address = await asyncio.to_thread(resolve, host, port, private_hosts)
            pinned = httpx2.URL(url).copy_with(host=address)
            # The certificate is checked for the name. SSL_CERT_FILE is honoured, and no proxy of the environment.
            tls = httpx2.create_ssl_context(trust_env=True)
            async with (
                httpx2.AsyncClient(timeout=timeout, verify=tls, trust_env=False, follow_redirects=False) as client,
                client.stream(
                    "POST",
                    pinned,
                    content=body,
                    headers={**headers, "host": parts.netloc},
                    extensions={"sni_hostname": host},
                ) as reply,
            ):
                # Its body is not read: nobody needs it, and it may have no end.
                _check(reply.status_code, reply.headers.get("retry-after"))
                return reply.status_code
    except TimeoutError:
        raise Undeliverable(f"{host} did not answer within {TIMEOUT_S:.0f} s.") from None
    except httpx2.TimeoutException:
        raise Undeliverable(f"{host} did not answer in time.") from None
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise Undeliverable(f"The connection to {host} failed ({type(error).__name__}).") from None


def _check(status: int, retry_after: str | None) -> None:
    if 200 <= status < 300:
        return
    text = f"The receiver answered with HTTP status {status}."
    if 300 <= status < 400:
        raise Undeliverable(f"{text} Redirects are not followed: give the channel the new URL.", is_refusal=True)
    is_refusal = 400 <= status < 500 and status not in TEMPORARY
    raise Undeliverable(text, is_refusal=is_refusal, is_gone=status == GONE, retry_after_s=retry_after_s(retry_after))
