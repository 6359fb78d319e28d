"""`ftlab notify ...`: notifications, and the channels that deliver them."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from ftlab.cli.app import CONTEXT, app
from ftlab.cli.jobs import LimitOption, YesOption, confirm
from ftlab.cli.session import Session, command, refuse_unknown

if TYPE_CHECKING:
    from ftlab.schemas import Channel

notify = typer.Typer(
    help="Show notifications, and send them to webhooks, by mail and to chat services.",
    no_args_is_help=True,
    context_settings=CONTEXT,
)
app.add_typer(notify, name="notify")

KindOption = Annotated[
    list[str] | None, typer.Option("--kind", "-k", help="Only notifications of this kind; may be repeated.")
]
ChannelArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the channel.")]


@command(notify, "ls")
def list_notifications(
    session: Session,
    unread: Annotated[bool, typer.Option("--unread", "-u", help="Only those that are unread.")] = False,
    kind: KindOption = None,
    job: Annotated[str | None, typer.Option("--job", help="Only those about the job with this id or name.")] = None,
    limit: LimitOption = 20,
) -> None:
    """List notifications, newest first; a star marks those that are unread."""
    _check_kinds(kind)
    session.output.listing(
        session.client.notifications.list(unread=unread, kinds=kind or (), job=job, limit=limit),
        ("", "ID", "KIND", "JOB", "MESSAGE", "AT"),
        lambda item: (
            "" if item.read_at else "*",
            item.id,
            item.kind.value,
            item.job_name or "",
            item.message,
            item.at,
        ),
        empty="There are no unread notifications." if unread else "There are no notifications.",
        shrink=("JOB", "MESSAGE"),
    )


@command(notify, "read")
def mark_read(
    session: Session,
    notification: Annotated[
        str | None, typer.Argument(metavar="ID", help="Id of one notification; default: all of them.")
    ] = None,
) -> None:
    """Mark notifications as read."""
    if notification is None:
        session.client.notifications.read_all()
        session.output.talk("All notifications are marked as read.")
        return
    read = session.client.notifications.read(notification)
    session.output.done(read, f"{read.id} is marked as read.")


@command(notify, "channels")
def list_channels(session: Session) -> None:
    """List your channels, and whether they work."""
    session.output.listing(
        session.client.notifications.channels(),
        ("NAME", "TYPE", "TARGET", "STATE", "KINDS", "JOBS", "PENDING", "LOST", "LAST SENT", "LAST ERROR"),
        _channel_row,
        empty="There are no channels. Add one with 'ftlab notify add NAME URL'.",
        shrink=("TARGET", "KINDS", "JOBS", "LAST ERROR"),
        optional=("LAST SENT", "JOBS", "KINDS", "TYPE"),
    )


@command(notify, "add")
def add_channel(
    session: Session,
    name: ChannelArgument,
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL",
            help="https://... for a webhook, mailto:ADDRESS, or a URL of Apprise; '-' reads it from standard input.",
        ),
    ],
    kind: KindOption = None,
    job: Annotated[
        list[str] | None, typer.Option("--job", help="Only about the job with this id or name; may be repeated.")
    ] = None,
    secret: Annotated[
        str | None, typer.Option("--secret", help="Secret of a webhook; default: a new one, which is printed.")
    ] = None,
) -> None:
    """Add a channel, or replace the one with this name. Prints the secret of a webhook, which is never shown again."""
    from ftlab.schemas import new_webhook_secret

    _check_kinds(kind)
    url = sys.stdin.readline().strip() if url == "-" else url
    is_webhook = url.lower().startswith(("https:", "http:"))
    new_secret = new_webhook_secret() if is_webhook and secret is None else None
    saved = session.client.notifications.save_channel(
        name, url, secret=new_secret or secret, kinds=kind or (), jobs=job or ()
    )
    if session.output.as_json:
        session.output.json(saved.model_dump(mode="json") | ({"secret": new_secret} if new_secret else {}))
    elif new_secret:
        session.output.talk("The receiver checks the signatures with this secret; it is not shown again:")
        session.output.data(new_secret)
    session.output.talk(f"Saved channel {name!r}. Try it with: ftlab notify test {name}")


@command(notify, "test")
def test_channel(session: Session, name: ChannelArgument) -> None:
    """Send a test message, and switch the channel on if it was off."""
    tested = session.client.notifications.test_channel(name)
    if session.output.as_json:
        session.output.json(tested)
    if tested.last_error is not None:
        session.output.talk(f"The test of channel {name!r} failed: {tested.last_error} It is tried again later.")
        raise typer.Exit(1)
    session.output.talk(f"Channel {name!r} has delivered the test message: {tested.target}")


@command(notify, "on")
def switch_on(session: Session, name: ChannelArgument) -> None:
    """Switch a channel on."""
    _switch(session, name, is_on=True)


@command(notify, "off")
def switch_off(session: Session, name: ChannelArgument) -> None:
    """Switch a channel off. What waits for its delivery is kept; what happens meanwhile is not delivered."""
    _switch(session, name, is_on=False)


@command(notify, "rm")
def remove_channel(session: Session, name: ChannelArgument, yes: YesOption = False) -> None:
    """Delete a channel."""
    confirm(f"Delete channel {name!r}?", yes)
    session.client.notifications.delete_channel(name)
    session.output.talk(f"Deleted channel {name!r}.")


def _switch(session: Session, name: str, *, is_on: bool) -> None:
    switched = session.client.notifications.switch_channel(name, is_on=is_on)
    session.output.done(switched, f"Channel {name!r} is {'on' if switched.is_on else 'off'}.")


def _channel_row(channel: "Channel") -> tuple[object, ...]:
    return (
        channel.name,
        channel.type.value,
        channel.target,
        _state(channel),
        " ".join(kind.value for kind in channel.kinds) or "all",
        " ".join(channel.jobs) or "all",
        channel.num_pending,
        channel.num_lost,
        channel.last_sent_at or "",
        channel.last_error or "",
    )


def _state(channel: "Channel") -> str:
    if not channel.is_on:
        return "off"
    return "on" if channel.last_error is None else "failing"


def _check_kinds(kinds: list[str] | None) -> None:
    from ftlab.schemas import NotificationKind

    refuse_unknown(kinds, [kind.value for kind in NotificationKind], "a kind of notification", "The kinds are")
