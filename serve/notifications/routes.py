"""`/api/notifications`: what happened to the caller's jobs, and the channels that deliver it."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from ftlab.schemas.notifications import (
    CHANNEL_NAME,
    Channel,
    ChannelChange,
    ChannelSwitch,
    Notification,
    NotificationKind,
    NotificationPage,
    ReadUntil,
    Unread,
)
from ftlab.schemas.replies import ChannelList
from serve.context import Caller
from serve.http.json_body import JsonBody, JsonRoute
from serve.http.query import After, Limit
from serve.http.responses import reply
from serve.notifications import service

router = APIRouter(prefix="/api/notifications", tags=["notifications"], route_class=JsonRoute)

ALL = ReadUntil()

NotificationId = Annotated[str, Path(max_length=100, description="The notification's id.")]
ChannelName = Annotated[str, Path(pattern=CHANNEL_NAME, description="The channel's name: a-z, 0-9 and '-'.")]


@router.get("", response_model=NotificationPage, summary="List notifications, newest first")
async def list_notifications(
    caller: Caller,
    unread: Annotated[bool, Query(description="Unread ones only.")] = False,
    kind: Annotated[list[NotificationKind] | None, Query(description="Kinds to return; default: all.")] = None,
    job: Annotated[str | None, Query(min_length=1, max_length=200, description="Id or name of one job.")] = None,
    after: After = None,
    limit: Limit = 20,
) -> Response:
    """Life events of your jobs, alarms of their runs, and channels that were switched off."""
    kinds = set(kind or ())
    return reply(
        await caller.call(service.list_notifications, kinds=kinds, job=job, is_unread=unread, after=after, limit=limit)
    )


@router.post("/read", response_model=Unread, summary="Mark all notifications as read")
async def read_all(caller: Caller, which: JsonBody[ReadUntil] = ALL) -> Response:
    """With `until`, that one and all older ones."""
    return reply(await caller.call(service.read_all, which.until))


@router.post("/{notification_id}/read", response_model=Notification, summary="Mark a notification as read")
async def read_one(caller: Caller, notification_id: NotificationId) -> Response:
    return reply(await caller.call(service.read_one, notification_id))


@router.get("/channels", response_model=ChannelList, summary="List the channels that deliver your notifications")
async def list_channels(caller: Caller) -> Response:
    return reply(await caller.call(service.list_channels))


@router.get("/channels/{name}", response_model=Channel, summary="Get a channel")
async def get_channel(caller: Caller, name: ChannelName) -> Response:
    return reply(await caller.call(service.get_channel, name))


@router.put("/channels/{name}", response_model=Channel, summary="Add or replace a channel")
async def put_channel(caller: Caller, name: ChannelName, change: JsonBody[ChannelChange]) -> Response:
    """A webhook (`https://...`, with a `secret`), mail (`mailto:...`), or a service that Apprise supports.

    URL and secret are never shown again. The channel delivers what happens from now on.
    """
    return reply(await caller.call(service.save_channel, name, change))


@router.patch("/channels/{name}", response_model=Channel, summary="Switch a channel on or off")
async def switch_channel(caller: Caller, name: ChannelName, switch: JsonBody[ChannelSwitch]) -> Response:
    """A channel that is off keeps what waits for its delivery, and takes nothing new."""
    return reply(await caller.call(service.switch_channel, name, switch.is_on))


@router.delete("/channels/{name}", status_code=204, summary="Delete a channel")
async def delete_channel(caller: Caller, name: ChannelName) -> Response:
    """What waits for its delivery is not delivered."""
    await caller.call(service.delete_channel, name)
    return Response(status_code=204)


@router.post("/channels/{name}/test", status_code=202, response_model=Channel, summary="Send a test notification")
async def test_channel(caller: Caller, name: ChannelName) -> Response:
    """Also switches the channel on. The reply is sent before the delivery: `num_pending`, `last_sent_at` and
    `last_error` of the channel show how it ends."""
    return reply(await caller.call(service.test_channel, name), 202)
