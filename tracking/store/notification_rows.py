"""The tables of notifications, of the channels that deliver them, and of the deliveries that are due (the outbox)."""

from sqlalchemy import JSON, BigInteger, Boolean, Column, Index, Integer, String, Table

from ftlab.schemas.notifications import ChannelType, NotificationKind, WebhookFormat
from ftlab.status import ReasonCode
from tracking.store.column_types import CleanText, EnumText, UtcDateTime
from tracking.store.rows import metadata, sequence

notifications = Table(
    "notifications",
    metadata,
    sequence("seq"),
    Column("id", String, nullable=False, unique=True),
    Column("owner", String, nullable=False),
    Column("kind", EnumText(NotificationKind), nullable=False),
    # No foreign key: a notification outlives its job.
    Column("job_id", String),
    Column("job_name", String),
    Column("event_seq", Integer),
    Column("title", CleanText, nullable=False),
    Column("message", CleanText, nullable=False),
    Column("reason", EnumText(ReasonCode)),
    Column("cause", String),
    Column("at", UtcDateTime, nullable=False),
    Column("read_at", UtcDateTime),
)
IS_UNREAD = notifications.c.read_at.is_(None)

Index("ix_notifications_owner", notifications.c.owner, notifications.c.seq)
# An event is reported once, whatever is killed and however many processes look at it.
Index("ix_notifications_event", notifications.c.job_id, notifications.c.event_seq, unique=True)
Index(
    "ix_notifications_unread",
    notifications.c.owner,
    notifications.c.seq,
    sqlite_where=IS_UNREAD,
    postgresql_where=IS_UNREAD,
)

channels = Table(
    "channels",
    metadata,
    Column("owner", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("type", EnumText(ChannelType), nullable=False),
    # May hold a secret, like `secret`: neither leaves the service.
    Column("url", String, nullable=False),
    Column("secret", String),
    Column("format", EnumText(WebhookFormat), nullable=False, server_default=WebhookFormat.FTLAB.value),
    # The name that a webhook endpoint of the OpenAI-compatible API was given.
    Column("title", CleanText),
    Column("kinds", JSON, nullable=False),
    Column("jobs", JSON, nullable=False),
    Column("is_on", Boolean, nullable=False),
    # Consecutive ones.
    Column("num_failures", Integer, nullable=False),
    Column("num_lost", Integer, nullable=False),
    Column("failing_since", UtcDateTime),
    Column("last_error", CleanText),
    Column("last_sent_at", UtcDateTime),
    Column("retry_at", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("owner", String, primary_key=True),
    Column("channel", String, primary_key=True),
    Column("notification_seq", BigInteger, primary_key=True, autoincrement=False),
    Column("num_tries", Integer, nullable=False),
)
