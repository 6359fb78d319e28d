"""Notifications about jobs, and the channels that deliver them outside the service."""

import base64
import secrets
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from ftlab.schemas.common import Page, StrictModel, WireModel
from ftlab.schemas.config import MAX_DATASETS
from ftlab.status import ReasonCode

SECRET_PREFIX = "whsec_"
CHANNEL_NAME = r"^[a-z0-9][a-z0-9-]{0,62}$"
MAX_URL_CHARS = 2000


class NotificationKind(StrEnum):
    """What a notification reports."""

    SUBMITTED = "submitted"
    STARTED = "started"
    """A run of the job trains."""
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    PAUSED = "paused"
    RESUMED = "resumed"
    """A job that was paused or had ended is in the queue again."""
    RETRIED = "retried"
    """An attempt failed, and the job is in the queue again."""
    RECOVERED = "recovered"
    """An attempt failed, and the job is in the queue again with other settings."""
    REQUEUED = "requeued"
    """The job made room for another one, or the service stopped: it is in the queue again."""
    ALARM = "alarm"
    """The measurements of the run look wrong."""
    BUDGET = "budget"
    """80 % or all of the budget of a month is used up."""
    GPU_OUT = "gpu_out"
    """A GPU on which one job after another failed was taken out."""
    CHANNEL_OFF = "channel_off"
    """A channel was switched off, because it failed for days."""
    TEST = "test"


class ChannelType(StrEnum):
    """How a channel delivers."""

    WEBHOOK = "webhook"
    MAIL = "mail"
    APPRISE = "apprise"
    """Any service that the library Apprise supports."""


class WebhookFormat(StrEnum):
    """What a webhook gets."""

    FTLAB = "ftlab"
    """The notification."""
    OPENAI = "openai"
    """An event as OpenAI sends it."""


class Notification(WireModel):
    """One life event of a job, or news about a channel, a budget or a GPU."""

    id: str
    kind: NotificationKind
    job_id: str | None = None
    """`None` for notifications about channels, budgets and GPUs. The job may have been deleted since."""
    job_name: str | None = None
    event_seq: int | None = None
    """Number of the event in the job's log that it reports."""
    title: str
    """A few words: the job's name and what happened."""
    message: str
    """What happened, and what to do."""
    reason: ReasonCode | None = None
    """Reason code of a failure."""
    cause: str | None = None
    """Cause of a failure, for example `gpu_memory_evaluation`; `None` where it was not analysed."""
    at: datetime
    read_at: datetime | None = None


class NotificationPage(Page[Notification]):
    """Notifications, newest first."""

    num_unread: int
    """Number of all unread notifications, on this page or not."""


class Unread(WireModel):
    """Number of unread notifications."""

    num_unread: int


class ReadUntil(StrictModel):
    """The notifications to mark as read."""

    until: str | None = Field(default=None, min_length=1, max_length=100)
    """Id of the newest one to mark: it and all older ones. Default: all."""


class ChannelChange(StrictModel):
    """Where a channel delivers, and what."""

    url: str = Field(min_length=1, max_length=MAX_URL_CHARS)
    """`https://...` for a webhook, `mailto:me@example.com` for mail, or a URL of Apprise such as `discord://...`."""
    secret: str | None = Field(default=None, min_length=1, max_length=200)
    """Key that signs a webhook's requests: `whsec_` and 24 to 64 bytes in base64. Needed for a webhook only, and never
    shown by the service."""
    kinds: list[NotificationKind] = Field(default_factory=list, max_length=len(NotificationKind))
    """Kinds of notifications to deliver; none means all."""
    jobs: list[Annotated[str, StringConstraints(min_length=1, max_length=200)]] = Field(
        default_factory=list, max_length=MAX_DATASETS
    )
    """Ids or names of the jobs to deliver notifications about; none means all."""


class ChannelSwitch(StrictModel):
    """Whether a channel delivers."""

    is_on: bool
    """`false`: nothing is delivered. What waits is kept until the channel is on again; what happens meanwhile is not
    delivered."""


class Channel(WireModel):
    """A way in which notifications leave the service."""

    name: str
    type: ChannelType
    target: str
    """Where it delivers, without what may be secret in its URL."""
    kinds: list[NotificationKind] = Field(default_factory=list)
    jobs: list[str] = Field(default_factory=list)
    is_on: bool
    """False once it was switched off: by you, or by the service because it failed for days."""
    num_pending: int = 0
    """Notifications that wait for their delivery."""
    num_lost: int = 0
    """Notifications that were not delivered, because the receiver refused them or the channel was switched off."""
    failing_since: datetime | None = None
    """The first failure since the last delivery; `None` while it works."""
    last_error: str | None = None
    """The newest failure since the last delivery, in one sentence."""
    last_sent_at: datetime | None = None
    retry_at: datetime | None = None
    """When a delivery is tried again; only after a failure."""
    created_at: datetime


def new_webhook_secret() -> str:
    """A random secret for a webhook, in the form of the Standard Webhooks specification."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()
