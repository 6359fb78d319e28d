"""Notifications and channels in the SDK and the CLI, against the real HTTP service and a real receiver."""

import io
import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from ftlab import errors, new_webhook_secret
from ftlab.client import Client
from tests.unit.ftlab.conftest import in_thread
from tests.unit.serve.streams.running import World
from tests.unit.tracking.notifications.receiver import SECRET, Receiver, receiving
from tracking.notifications.notifier import Notifier, sender
from tracking.notifications.targets import secret_bytes
from tracking.store.ids import new_id


@pytest.fixture
def world(tmp_path) -> Iterator[World]:
    """The service, with its notifier in a thread."""
    with in_thread(tmp_path / "home", private_hosts=("127.0.0.1",)) as world:
        stop = threading.Event()

        def now() -> datetime:
            return datetime.now(UTC)

        notifier = Notifier(world.store, sender(world.settings, now), now)
        thread = threading.Thread(target=notifier.run, args=(stop,), daemon=True)
        thread.start()
        yield world
        stop.set()
        thread.join(10)


@pytest.fixture
def address(world) -> str:
    return str(world.url(""))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def cancelled_job(world: World, name: str) -> str:
    ref = world.add_job(new_id("job"), name=name)
    world.finish(ref)
    return ref.id


def wait_for_notifications(client: Client, count: int) -> None:
    for _ in range(300):
        if client.notifications.num_unread() >= count:
            return
        threading.Event().wait(0.05)
    raise AssertionError(f"there are {client.notifications.num_unread()}, not {count}")


def test_notifications_in_the_sdk_and_the_cli(world, client, cli):
    first, second = cancelled_job(world, "one"), cancelled_job(world, "two")
    wait_for_notifications(client, 4)
    newest = next(iter(client.notifications.list(limit=1)))
    assert (newest.kind, newest.job_id, newest.title) == ("cancelled", second, "two was cancelled")
    assert [each.job_id for each in client.notifications.list(kinds=["submitted"], job="one")] == [first]
    assert client.notifications.read(newest.id).read_at is not None
    unread = cli("notify", "ls", "--unread", "--json").json
    assert [each["kind"] for each in unread] == ["submitted", "cancelled", "submitted"]
    table = cli("notify", "ls", "--kind", "cancelled").lines
    assert [line.split("\t")[0] for line in table] == ["", "", "*"]
    assert table[1].split("\t")[2:4] == ["cancelled", "two"]
    assert cli("notify", "read", unread[0]["id"]).code == 0
    assert client.notifications.read_all(until=unread[2]["id"]) == 1
    assert cli("notify", "read").code == 0
    assert client.notifications.num_unread() == 0
    assert "no unread notifications" in cli("notify", "ls", "-u").err
    assert cli("notify", "read", "ntf-unknown").code == 3
    refused = cli("notify", "ls", "--kind", "cancelld")
    assert refused.code == 2
    assert "mean 'cancelled'?" in " ".join(refused.err.replace("│", "").split())


def test_a_channel_from_the_command_line_to_its_receiver(world, client, cli, receiver, monkeypatch):
    added = cli("notify", "add", "ops", receiver.url, "--secret", SECRET, "--kind", "cancelled", "--job", "two")
    assert (added.code, added.out) == (0, "")
    tested = cli("notify", "test", "ops")
    assert tested.code == 0, tested.err
    assert tested.err.startswith("Channel 'ops' has delivered the test message: http://127.0.0.1:")
    cancelled_job(world, "one")
    second = cancelled_job(world, "two")
    wait_for_notifications(client, 5)
    client.notifications.test_channel("ops")
    assert [(each["type"], each["data"]["job_id"]) for each in receiver.received] == [
        ("channel.test", None),
        ("job.cancelled", second),
        ("channel.test", None),
    ]
    receiver.answers = [(500, {})]
    failed = cli("notify", "test", "ops")
    assert failed.code == 1
    assert "HTTP status 500" in failed.err
    [_, row] = cli("notify", "channels").lines
    assert row.split("\t")[:6] == ["ops", "webhook", receiver.url.replace("hook", "..."), "failing", "cancelled", "two"]
    assert receiver.url not in row
    assert cli("notify", "off", "ops").err == "Channel 'ops' is off.\n"
    assert cli("notify", "channels").lines[1].split("\t")[3] == "off"
    assert cli("notify", "on", "ops", "--json").json["is_on"] is True
    assert cli("notify", "rm", "ops", "--yes").code == 0
    assert "There are no channels." in cli("notify", "channels").err
    assert cli("notify", "test", "ops").code == 3


def test_the_secret_of_a_webhook_is_made_and_shown_once(cli, monkeypatch):
    added = cli("notify", "add", "ops", "https://hooks.example.com/x", "--quiet")
    assert secret_bytes(added.out.strip())
    as_json = cli("notify", "add", "ops", "https://hooks.example.com/x", "--json").json
    assert secret_bytes(as_json["secret"])
    assert as_json["target"] == "https://hooks.example.com/..."
    assert "whsec" not in cli("notify", "channels", "--json").out
    assert new_webhook_secret() != new_webhook_secret()


def test_a_url_is_read_from_standard_input(cli, client, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("https://hooks.example.com/x\n"))
    assert cli("notify", "add", "ops", "-").code == 0
    assert [channel.target for channel in client.notifications.channels()] == ["https://hooks.example.com/..."]


def test_refusals_reach_the_caller(client):
    with pytest.raises(errors.InvalidRequestError, match="secret"):
        client.notifications.save_channel("ops", "https://hooks.example.com/x")
    with pytest.raises(errors.InvalidRequestError, match="smtp_url"):
        client.notifications.save_channel("ops", "mailto:me@example.com")
    with pytest.raises(errors.NotFoundError):
        client.notifications.delete_channel("ops")
