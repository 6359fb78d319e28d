"""A job from the submission to its signed notifications, and to what it cost."""

import pytest

from ftlab import Client
from ftlab.schemas import Dataset
from tests.e2e.conftest import CORE_PRICE
from tests.support.lab import Lab, tiny_job, wait_for
from tests.unit.tracking.notifications.receiver import SECRET, receiving


def test_a_receiver_gets_the_life_of_a_job_although_the_notifier_is_killed(
    lab: Lab, client: Client, dataset: Dataset
) -> None:
    with receiving() as receiver:
        client.notifications.save_channel("e2e", receiver.url, secret=SECRET, jobs=["notified"])
        try:
            assert client.notifications.test_channel("e2e").last_error is None
            job = client.jobs.create(tiny_job(dataset, name="notified", max_steps=5))
            wait_for(lambda: "job.submitted" in receiver.kinds, 30, "the first notification")
            [notifier] = lab.find_by_word("cluster.events.notifier")
            notifier.kill()
            client.jobs.wait(job.id, timeout_s=240)
            wait_for(lambda: "job.completed" in receiver.kinds, 60, "the last notification")
        finally:
            client.notifications.delete_channel("e2e")
    by_id = {document["data"]["id"]: document["type"] for document in receiver.received}
    assert list(by_id.values()) == ["channel.test", "job.submitted", "job.started", "job.completed"]
    kinds = [item.kind for item in client.notifications.list(job="notified")]
    assert kinds == ["completed", "started", "submitted"]
    wait_for(lambda: bool(client.costs.of_job(job.id)), 30, "the cost of the attempt")
    [record] = client.costs.of_job(job.id)
    cost = client.jobs.get(job.id).cost
    assert cost is not None
    assert (cost.amount, cost.currency, cost.is_final) == (record.amount, "EUR", True)
    [devices] = record.devices
    seconds = (record.held_until - record.held_from).total_seconds()
    assert float(devices.quantity) * seconds * CORE_PRICE / 3600 == pytest.approx(float(cost.amount), abs=1e-6)
    assert record.job_id in {each.key for each in client.costs.report("job").data}
