"""Webhook endpoints of `/v1`: each is one of our notification channels. Every function blocks."""

from collections.abc import Sequence
from datetime import UTC, datetime

from pydantic import Field

from ftlab.errors import InvalidRequestError
from ftlab.schemas.common import Name, StrictModel
from ftlab.schemas.notifications import MAX_URL_CHARS, ChannelChange, WebhookFormat, new_webhook_secret
from serve.context import Services
from serve.notifications import service
from serve.openai.ids import CHANNEL, channel_name, endpoint_id, no_such_endpoint, seconds
from serve.openai.objects import OpenAiDeleted, OpenAiEndpoint, OpenAiEndpointTest, OpenAiList, page
from tracking.notifications.outcomes import Undeliverable
from tracking.notifications.webhook import OPENAI_EVENTS, openai_body, send_webhook
from tracking.store.channels import ChannelRecord
from tracking.store.ids import new_id
from tracking.store.paging import invalid_cursor

EVENT_TYPES = tuple(OPENAI_EVENTS.values())
_KINDS = {event: kind for kind, event in OPENAI_EVENTS.items()}
HINT_CHARS = 4
"""Last characters of a secret that may be shown."""
NO_JOB = "job-000000000000"
"""Job of a test event."""


class CreateEndpoint(StrictModel):
    """A webhook endpoint."""

    name: Name
    url: str = Field(min_length=1, max_length=MAX_URL_CHARS)
    event_types: list[str] = Field(min_length=1, max_length=50)


class ChangeEndpoint(StrictModel):
    """Changes of a webhook endpoint; fields that are left out stay as they are."""

    name: Name | None = None
    url: str | None = Field(default=None, min_length=1, max_length=MAX_URL_CHARS)
    event_types: list[str] | None = Field(default=None, min_length=1, max_length=50)


class RotateSecret(StrictModel):
    """How to replace a secret."""

    keep_old_secret_active_for_24_hours: bool = False
    """Must be false: the old secret ends at once."""


class TestEvent(StrictModel):
    """An event to send as a test."""

    event_type: str = Field(max_length=100)


def create(services: Services, owner: str, body: CreateEndpoint) -> OpenAiEndpoint:
    """Add an endpoint; the only reply, with that of `rotate`, that has the secret. Raises as `save_channel` does."""
    name, secret = new_id(CHANNEL), new_webhook_secret()
    return _save(services, owner, name, url=body.url, secret=secret, events=body.event_types, title=body.name)


def change(services: Services, owner: str, endpoint: str, body: ChangeEndpoint) -> OpenAiEndpoint:
    """Change an endpoint. What waits for its delivery goes to the new URL."""
    channel = _channel(services, owner, endpoint)
    events = body.event_types or _events(channel)
    title, url = body.name or channel.title, body.url or channel.url
    _save(services, owner, channel.name, url=url, secret=channel.secret, events=events, title=title)
    return get(services, owner, endpoint)


def rotate(services: Services, owner: str, endpoint: str, body: RotateSecret) -> OpenAiEndpoint:
    """Give an endpoint another secret, which replaces the old one at once."""
    if body.keep_old_secret_active_for_24_hours:
        raise InvalidRequestError(
            "An endpoint has one secret; leave keep_old_secret_active_for_24_hours out.",
            "unsupported_parameter",
            "keep_old_secret_active_for_24_hours",
        )
    channel, secret = _channel(services, owner, endpoint), new_webhook_secret()
    events = _events(channel)
    return _save(services, owner, channel.name, url=channel.url, secret=secret, events=events, title=channel.title)


def get(services: Services, owner: str, endpoint: str) -> OpenAiEndpoint:
    """Raise `NotFoundError`."""
    return _to_endpoint(_channel(services, owner, endpoint))


def list_endpoints(services: Services, owner: str, after: str | None, limit: int) -> OpenAiList[OpenAiEndpoint]:
    """One page, newest first."""
    with services.store.read() as tx:
        channels = [channel for channel in tx.channels.list(owner=owner) if channel.format is WebhookFormat.OPENAI]
    found = [_to_endpoint(each) for each in sorted(channels, key=lambda each: each.created_at, reverse=True)]
    start = 0
    if after is not None:
        places = [number for number, each in enumerate(found, 1) if each.id == after]
        if not places:
            raise invalid_cursor()
        start = places[0]
    return page(found[start : start + limit], has_more=len(found) > start + limit)


def delete(services: Services, owner: str, endpoint: str) -> OpenAiDeleted:
    """Raise `NotFoundError`."""
    service.delete_channel(services, owner, _channel(services, owner, endpoint).name)
    return OpenAiDeleted(id=endpoint, object="webhook_endpoint.deleted")


def test(services: Services, owner: str, endpoint: str, body: TestEvent) -> OpenAiEndpointTest:
    """Send an event at once. Raises `InvalidRequestError` (`webhook_test_failed`) unless the receiver takes it."""
    channel = _channel(services, owner, endpoint)
    _check_events([body.event_type], "event_type")
    assert channel.secret is not None
    now, message_id = datetime.now(UTC), new_id("ntf")
    event = openai_body(message_id, body.event_type, NO_JOB, now)
    hosts = services.settings.notify_private_hosts
    try:
        status = send_webhook(channel.url, channel.secret, message_id, event, private_hosts=hosts, now=now)
    except Undeliverable as error:
        raise InvalidRequestError(error.message, "webhook_test_failed", "webhook_endpoint_id") from None
    return OpenAiEndpointTest(event_type=body.event_type, status_code=status, webhook_endpoint_id=endpoint)


def _save(
    services: Services,
    owner: str,
    name: str,
    *,
    url: str,
    secret: str | None,
    events: Sequence[str],
    title: str | None,
) -> OpenAiEndpoint:
    _check_events(events, "event_types")
    change = ChannelChange(url=url, secret=secret, kinds=[_KINDS[event] for event in dict.fromkeys(events)])
    if not url.lower().startswith(("https:", "http:")):
        raise InvalidRequestError("url must begin with https://.", "invalid_channel_url", "url")
    service.save_channel(services, owner, name, change, WebhookFormat.OPENAI, title)
    channel = _channel(services, owner, endpoint_id(name))
    return _to_endpoint(channel).model_copy(update={"signing_secret": secret})


def _channel(services: Services, owner: str, endpoint: str) -> ChannelRecord:
    name = channel_name(endpoint)
    with services.store.read() as tx:
        found = [channel for channel in tx.channels.list(owner=owner) if channel.name == name]
    if not found or found[0].format is not WebhookFormat.OPENAI:
        raise no_such_endpoint(endpoint)
    return found[0]


def _check_events(events: Sequence[str], field: str) -> None:
    unknown = next((event for event in events if event not in EVENT_TYPES), None)
    if unknown is not None:
        what = "is not sent by this service" if len(unknown) < 100 else "has an unknown value"
        message = f"{field}: {unknown!r} {what}; it sends {', '.join(EVENT_TYPES)}."
        raise InvalidRequestError(message, "unsupported_event_type", field)


def _events(channel: ChannelRecord) -> list[str]:
    return [OPENAI_EVENTS[kind] for kind in channel.kinds]


def _to_endpoint(channel: ChannelRecord) -> OpenAiEndpoint:
    secret = channel.secret or ""
    return OpenAiEndpoint(
        id=endpoint_id(channel.name),
        created_at=seconds(channel.created_at),
        event_types=_events(channel),
        name=channel.title or channel.name,
        signing_secret_hint=f"whsec_...{secret[-HINT_CHARS:]}",
        url=channel.url,
        channel=channel.name,
        is_on=channel.is_on,
    )
