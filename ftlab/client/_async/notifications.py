"""Notifications about your jobs, and the channels that deliver them."""

from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any

from ftlab.client._async.transport import AsyncTransport
from ftlab.client.waiting import Polling
from ftlab.client.wire import Listing, Request, channel_path, segment
from ftlab.schemas import Channel, Notification, NotificationKind
from ftlab.schemas.notifications import NotificationPage, Unread

PATH = "/api/notifications"
TEST_PAUSES_S = (0.2, 1.0)
TEST_TIMEOUT_S = 60.0


class AsyncNotifications:
    """Life events of your jobs, newest first, and channels: webhooks, mail, chat services."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    def list(
        self,
        *,
        unread: bool = False,
        kinds: Collection[NotificationKind | str] = (),
        job: str | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[Notification]:
        """Notifications, newest first, fetched page by page; `job` is the id or the name of a job."""
        params = {"unread": unread or None, "kind": list(kinds) or None, "job": job}
        return self._transport.pages(NotificationPage, Request("GET", PATH, params), limit)

    async def num_unread(self) -> int:
        """Number of unread notifications."""
        page = await self._transport.read(NotificationPage, Request("GET", PATH, {"unread": True, "limit": 1}))
        return page.num_unread

    async def read(self, notification_id: str) -> Notification:
        """Mark a notification as read. Raises `NotFoundError`."""
        request = Request("POST", f"{PATH}/{segment(notification_id)}/read", may_repeat=True)
        return await self._transport.read(Notification, request)

    async def read_all(self, until: str | None = None) -> int:
        """Mark all notifications as read, or the one with the id `until` and all older ones.

        Returns the number of those that are still unread. Raises `NotFoundError`.
        """
        request = Request("POST", f"{PATH}/read", document={"until": until}, may_repeat=True)
        return (await self._transport.read(Unread, request)).num_unread

    async def channels(self) -> Sequence[Channel]:
        """Your channels, by name."""
        return await self._transport.items(Listing[Channel], Request("GET", f"{PATH}/channels"))

    async def save_channel(
        self,
        name: str,
        url: str,
        *,
        secret: str | None = None,
        kinds: Collection[NotificationKind | str] = (),
        jobs: Collection[str] = (),
    ) -> Channel:
        """Add a channel, or replace the one of this name. Without `kinds` and `jobs`, it delivers everything.

        `url` is `https://...` for a webhook, which needs a `secret` such as `new_webhook_secret()` makes,
        `mailto:me@example.com`, or a URL of Apprise. Raises `InvalidRequestError` for one that cannot be used.
        """
        document: dict[str, Any] = {"url": url, "kinds": [str(kind) for kind in kinds], "jobs": list(jobs)}
        document |= {} if secret is None else {"secret": secret}
        return await self._transport.read(Channel, Request("PUT", channel_path(name), document=document))

    async def test_channel(self, name: str, timeout_s: float = TEST_TIMEOUT_S) -> Channel:
        """Send a test notification, switch the channel on, and wait until the delivery has succeeded or failed.

        `last_error` of the channel is `None` after a success. Raises `NotFoundError`, and `WaitTimeoutError` when
        neither has happened in time.
        """
        # A repeated test only sends another message.
        request = Request("POST", f"{channel_path(name)}/test", may_repeat=True)
        channel = await self._transport.read(Channel, request)
        polling = Polling(self._transport.endpoint, timeout_s, TEST_PAUSES_S)
        while channel.num_pending and channel.last_error is None:
            await self._transport.sleep(
                polling.next_pause_s(f"The test of channel {name!r}", "waiting for its delivery")
            )
            channel = await self._transport.read(Channel, Request("GET", channel_path(name)))
        return channel

    async def switch_channel(self, name: str, *, is_on: bool) -> Channel:
        """Switch a channel on or off. Raises `NotFoundError`.

        One that is off keeps what waits, and takes nothing new.
        """
        request = Request("PATCH", channel_path(name), document={"is_on": is_on}, may_repeat=True)
        return await self._transport.read(Channel, request)

    async def delete_channel(self, name: str) -> None:
        """Delete a channel; what waits for its delivery is not delivered. Raises `NotFoundError`."""
        await self._transport.exchange_unrepeatable(Request("DELETE", channel_path(name)))
