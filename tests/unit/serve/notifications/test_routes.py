"""`/api/notifications`: the list, the marks, the channels, and what is refused."""

import pytest

from ftlab.schemas.notifications import ChannelType, NotificationKind
from ftlab.status import JobStatus
from tests.unit.serve.jobs.statuses import NOW
from tests.unit.tracking.notifications.receiver import SECRET
from tests.unit.tracking.samples import add_job, start
from tracking.notifications.collect import Collector

PATH = "/api/notifications"
URL = "https://hooks.example.com/canary-4711"
HOOK = {"url": URL, "secret": SECRET}


@pytest.fixture
def life(store):
    """A job that was submitted, started and completed, and another one that was submitted."""
    ref = start(store, add_job(store, name="first").id)
    with store.begin() as tx:
        tx.jobs.move(ref, JobStatus.COMPLETED, now=NOW)
    add_job(store, name="second")
    Collector(store).step()
    return ref.id


def kinds(reply):
    assert reply.status_code == 200, reply.text
    return [(each["job_name"], each["kind"]) for each in reply.json()["data"]]


def refusal(reply):
    error = reply.json()["error"]
    return reply.status_code, error["code"], error["param"]


def test_notifications_are_listed_newest_first_and_page_by_page(client, life):
    everything = [("second", "submitted"), ("first", "completed"), ("first", "started"), ("first", "submitted")]
    assert kinds(client.get(PATH)) == everything
    page = client.get(PATH, params={"limit": 3}).json()
    assert (page["has_more"], page["num_unread"]) == (True, 4)
    rest = client.get(PATH, params={"limit": 3, "after": page["next_cursor"]}).json()
    assert [each["kind"] for each in rest["data"]] == ["submitted"]
    assert (rest["has_more"], rest["next_cursor"]) == (False, None)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"kind": ["completed", "started"]}, [("first", "completed"), ("first", "started")]),
        ({"job": "second"}, [("second", "submitted")]),
        ({"job": "third"}, []),
    ],
)
def test_notifications_are_filtered(client, life, params, expected):
    assert kinds(client.get(PATH, params=params)) == expected


def test_one_is_marked_as_read_and_stays_so(client, life):
    newest = client.get(PATH).json()["data"][0]
    assert newest["read_at"] is None
    read = client.post(f"{PATH}/{newest['id']}/read").json()
    assert read == newest | {"read_at": read["read_at"]}
    assert client.post(f"{PATH}/{newest['id']}/read").json() == read
    assert len(kinds(client.get(PATH, params={"unread": True}))) == 3
    assert client.get(PATH).json()["num_unread"] == 3


def test_all_are_marked_as_read_or_all_up_to_one(client, life):
    third = client.get(PATH).json()["data"][2]["id"]
    assert client.post(f"{PATH}/read", json={"until": third}).json() == {"num_unread": 2}
    assert client.post(f"{PATH}/read").json() == {"num_unread": 0}
    assert client.post(f"{PATH}/read", json={}).json() == {"num_unread": 0}


def test_records_of_others_are_unknown(client, store):
    add_job(store, owner="someone")
    Collector(store).step()
    with store.begin() as tx:
        [foreign] = tx.notifications.list(owner="someone")
        values = {"type": ChannelType.WEBHOOK, "url": URL, "secret": SECRET, "kinds": (), "jobs": (), "now": NOW}
        tx.channels.save("someone", "theirs", **values)
    assert kinds(client.get(PATH)) == []
    unknown = 404, "notification_not_found", "notification_id"
    assert refusal(client.post(f"{PATH}/{foreign.id}/read")) == unknown
    assert refusal(client.post(f"{PATH}/read", json={"until": foreign.id})) == unknown
    assert refusal(client.get(PATH, params={"after": foreign.id})) == (400, "invalid_cursor", "after")
    assert client.get(f"{PATH}/channels").json() == {"data": []}
    for method, path in (("get", ""), ("delete", ""), ("post", "/test")):
        assert getattr(client, method)(f"{PATH}/channels/theirs{path}").status_code == 404


def test_a_channel_is_added_replaced_and_deleted_and_never_shows_its_secrets(client):
    saved = client.put(f"{PATH}/channels/ops", json=HOOK | {"kinds": ["failed"], "jobs": ["nightly"]})
    assert saved.status_code == 200, saved.text
    channel = saved.json()
    assert (channel["type"], channel["target"]) == ("webhook", "https://hooks.example.com/...")
    assert (channel["kinds"], channel["jobs"], channel["is_on"]) == (["failed"], ["nightly"], True)
    replaced = client.put(f"{PATH}/channels/ops", json=HOOK).json()
    assert (replaced["kinds"], replaced["created_at"]) == ([], channel["created_at"])
    listed = client.get(f"{PATH}/channels")
    assert listed.json()["data"] == [client.get(f"{PATH}/channels/ops").json()]
    for reply in (saved, listed):
        assert "canary" not in reply.text
        assert SECRET not in reply.text
    assert client.delete(f"{PATH}/channels/ops").status_code == 204
    assert refusal(client.delete(f"{PATH}/channels/ops")) == (404, "channel_not_found", "name")


def test_a_test_waits_in_the_outbox_of_its_channel_only_and_switches_it_on(client, store):
    for name in ("ops", "other"):
        client.put(f"{PATH}/channels/{name}", json=HOOK)
    with store.begin() as tx:
        tx.channels.update(tx.channels.get("ops", owner="local"), is_on=False, num_failures=99, last_error="Down.")
    tested = client.post(f"{PATH}/channels/ops/test")
    assert tested.status_code == 202
    assert (tested.json()["is_on"], tested.json()["last_error"], tested.json()["num_pending"]) == (True, None, 1)
    assert client.get(f"{PATH}/channels/other").json()["num_pending"] == 0
    assert kinds(client.get(PATH)) == [(None, "test")]


def test_a_channel_that_is_off_keeps_what_waits_and_takes_nothing_new(client, store):
    client.put(f"{PATH}/channels/ops", json=HOOK)
    add_job(store)
    Collector(store).step()
    off = client.patch(f"{PATH}/channels/ops", json={"is_on": False}).json()
    assert (off["is_on"], off["num_pending"]) == (False, 1)
    add_job(store)
    Collector(store).step()
    with store.begin() as tx:
        assert tx.channels.due(now=NOW) == []
        tx.channels.update(tx.channels.get("ops", owner="local"), num_failures=9, last_error="Down.", retry_at=NOW)
    on = client.patch(f"{PATH}/channels/ops", json={"is_on": True}).json()
    assert (on["is_on"], on["num_pending"], on["last_error"], on["retry_at"]) == (True, 1, None, None)
    with store.read() as tx:
        assert len(tx.channels.due(now=NOW)) == 1
    assert refusal(client.patch(f"{PATH}/channels/none", json={"is_on": True}))[:2] == (404, "channel_not_found")
    assert client.patch(f"{PATH}/channels/ops", json={}).status_code == 422


def test_what_a_job_did_last_is_reported_although_it_is_deleted(client, store):
    job = add_job(store)
    with store.begin() as tx:
        tx.jobs.move(job.ref, JobStatus.CANCELLING, now=NOW)
        tx.jobs.move(job.ref, JobStatus.CANCELLED, now=NOW)
    assert client.delete(f"/api/training/jobs/{job.id}").status_code == 204
    left = client.get(PATH)
    assert kinds(left) == [("a job", "cancelled"), ("a job", "submitted")]
    Collector(store).step()
    assert client.get(PATH).json() == left.json()


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        ({}, 422, "invalid_body", "url"),
        ({"url": 3}, 422, "invalid_body", "url"),
        ({"url": URL}, 422, "webhook_secret_missing", "secret"),
        (HOOK | {"secret": "canary-4711"}, 422, "invalid_webhook_secret", "secret"),
        (HOOK | {"url": "http://hooks.example.com/canary-4711"}, 422, "invalid_channel_url", "url"),
        (HOOK | {"url": "canary-4711"}, 422, "invalid_channel_url", "url"),
        (HOOK | {"url": "nonsense://canary-4711"}, 422, "invalid_channel_url", "url"),
        (HOOK | {"url": "mailto:me@example.com"}, 422, "mail_not_configured", "url"),
        (HOOK | {"kinds": ["canary-4711"]}, 422, None, "kinds.0"),
        (HOOK | {"jobs": [""]}, 422, None, "jobs.0"),
        (HOOK | {"secrets": "x"}, 422, None, "secrets"),
        (HOOK | {"url": "https://" + "x" * 5000}, 422, None, "url"),
    ],
)
def test_bad_channels_are_refused_without_an_echo(client, body, status, code, param):
    reply = client.put(f"{PATH}/channels/ops", json=body)
    assert reply.status_code == status, reply.text
    error = reply.json()["error"]
    assert error["param"] == param
    assert code is None or error["code"] == code
    assert "canary-4711" not in reply.text


@pytest.mark.parametrize("name", ["Ops", "a b", "-x", "x" * 64, "ops.1"])
def test_names_of_channels_are_plain(client, name):
    assert client.put(f"{PATH}/channels/{name}", json=HOOK).status_code == 422


@pytest.mark.parametrize("params", [{"kind": "nothing"}, {"limit": 0}, {"unread": "perhaps"}, {"job": ""}, {"page": 2}])
def test_bad_filters_are_refused(client, params):
    assert client.get(PATH, params=params).status_code == 422


def test_the_number_of_channels_is_limited(client, monkeypatch):
    monkeypatch.setattr("serve.notifications.service.MAX_CHANNELS", 1)
    assert client.put(f"{PATH}/channels/ops", json=HOOK).status_code == 200
    assert client.put(f"{PATH}/channels/ops", json=HOOK).status_code == 200
    assert refusal(client.put(f"{PATH}/channels/more", json=HOOK))[:2] == (429, "quota_exceeded")


def test_every_kind_has_a_word(client):
    assert client.get(PATH, params={"kind": list(NotificationKind)}).status_code == 200
