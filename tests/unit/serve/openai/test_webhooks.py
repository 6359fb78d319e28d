"""Webhook endpoints: made by the `openai` client, and their events verified by it."""

from collections.abc import Iterator
from datetime import UTC, datetime

import openai as sdk
import pytest
from openai import OpenAI

from ftlab.settings import Settings
from tests.unit.serve.openai.test_jobs import complete, create, own
from tests.unit.tracking.notifications.receiver import Receiver, receiving
from tracking.notifications.notifier import Notifier, sender

EVENTS = ["fine_tuning.job.succeeded", "fine_tuning.job.failed"]


class Raw(Receiver):
    """Keeps the requests as they are: the client under test verifies them."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[tuple[dict[str, str], bytes]] = []

    def take(self, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str]]:
        self.requests.append((headers, body))
        return self.answers.pop(0) if self.answers else (204, {})


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"notify_private_hosts": ("127.0.0.1",)})


@pytest.fixture
def receiver() -> Iterator[Raw]:
    raw = Raw()
    with receiving() as receiver:
        receiver.take = raw.take  # type: ignore[method-assign]
        raw.url = receiver.url
        yield raw


def test_the_client_verifies_the_event_of_a_job_that_has_ended(openai: OpenAI, services, receiver: Raw):
    endpoint = openai.webhooks.create(name="My hook", url=receiver.url, event_types=EVENTS)
    assert (endpoint.name, endpoint.url, endpoint.event_types) == ("My hook", receiver.url, EVENTS)
    job = create(openai)
    complete(services, own(job))
    notifier = Notifier(services.store, sender(services.settings, lambda: datetime.now(UTC)), lambda: datetime.now(UTC))
    while notifier.step():
        notifier.wait()
    [(headers, body)] = receiver.requests
    event = openai.webhooks.unwrap(body, headers, secret=endpoint.signing_secret)
    assert (event.type, event.data.id) == (EVENTS[0], job.id)
    assert event.id.startswith("evt_")

    rotated = openai.webhooks.rotate_secret(endpoint.id)
    assert rotated.signing_secret != endpoint.signing_secret
    tested = openai.webhooks.test(endpoint.id, event_type=EVENTS[1])
    assert tested.status_code == 204
    headers, body = receiver.requests[-1]
    with pytest.raises(sdk.InvalidWebhookSignatureError):
        openai.webhooks.unwrap(body, headers, secret=endpoint.signing_secret)
    assert openai.webhooks.unwrap(body, headers, secret=rotated.signing_secret).type == EVENTS[1]
    receiver.answers.append((500, {}))
    with pytest.raises(sdk.BadRequestError, match="500"):
        openai.webhooks.test(endpoint.id, event_type=EVENTS[1])


def test_endpoints_are_listed_changed_and_deleted(openai: OpenAI, client):
    made = [
        openai.webhooks.create(name=f"n{number}", url="https://example.com/hook", event_types=EVENTS)
        for number in (1, 2, 3)
    ]
    assert {each.id for each in openai.webhooks.list(limit=2)} == {each.id for each in made}
    assert openai.webhooks.event_types.list().data[:2] == EVENTS
    first = made[0].id
    changed = openai.webhooks.update(first, name="other", event_types=EVENTS[:1])
    assert (changed.name, changed.event_types, changed.url) == ("other", EVENTS[:1], "https://example.com/hook")
    assert openai.webhooks.retrieve(first) == changed
    assert (changed.signing_secret_hint or "")[-4:] == made[0].signing_secret[-4:]
    [channel, *_] = [
        each for each in client.get("/api/notifications/channels").json()["data"] if first[3:] in each["name"]
    ]
    assert (channel["kinds"], channel["target"]) == (["completed"], "https://example.com/...")
    assert openai.webhooks.delete(first).deleted
    with pytest.raises(sdk.NotFoundError) as raised:
        openai.webhooks.retrieve(first)
    assert raised.value.code == "webhook_endpoint_not_found"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"event_types": ["batch.completed"]}, "unsupported_event_type"),
        ({"event_types": [""]}, "unsupported_event_type"),
        ({"url": "http://example.com"}, "invalid_channel_url"),
        ({"url": "mailto:me@example.com"}, "invalid_channel_url"),
        ({"url": "https://user:secret@example.com"}, "invalid_channel_url"),
        ({"event_types": []}, "invalid_body"),
    ],
)
def test_an_endpoint_that_cannot_be_is_refused(openai: OpenAI, fields, code):
    with pytest.raises(sdk.BadRequestError) as raised:
        openai.webhooks.create(**{"name": "n", "url": "https://example.com", "event_types": EVENTS} | fields)
    assert raised.value.code == code
    assert openai.webhooks.list().data == []


def test_an_endpoint_has_one_secret(openai: OpenAI, client):
    endpoint = openai.webhooks.create(name="n", url="https://example.com", event_types=EVENTS)
    with pytest.raises(sdk.BadRequestError) as raised:
        openai.webhooks.rotate_secret(endpoint.id, keep_old_secret_active_for_24_hours=True)
    assert raised.value.code == "unsupported_parameter"
    secret = "whsec_" + "c2VjcmV0LWtleS1vZi10aGlydHktdHdvLWJ5dGVzLjEyMw=="
    plain = {"url": "https://example.com", "secret": secret}
    assert client.put("/api/notifications/channels/openai-000000000000", json=plain).status_code == 200
    with pytest.raises(sdk.NotFoundError):
        openai.webhooks.retrieve("we_000000000000")
