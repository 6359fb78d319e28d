"""What owners use, and what they may use."""

import pytest

from ftlab.schemas import JobConfig
from ftlab.settings import Settings
from ftlab.status import JobStatus, ReasonCode
from tests.unit.tracking.samples import (
    NOW,
    add_job,
    at_once,
    checkpoint,
    claim,
    dataset,
    hold_lease,
    later,
    reach,
    start,
)
from tracking.store import Store, Transaction
from tracking.store.ids import new_id
from tracking.store.quotas import effective_quota
from tracking.store.records import JobRef, QuotaRecord, UsageRecord

DAY_S = 86_400


def use(store: Store, owner: str, device_s: float, at_s: float = 0) -> None:
    with store.begin() as tx:
        tx.usage.add(owner, device_s, now=later(at_s))


def add_to(tx: Transaction, owner: str) -> None:
    """One job more in this owner's queue."""
    config = JobConfig(model="org/name", dataset="ds-1")
    tx.jobs.add(new_id("job"), owner=owner, name="a job", config=config, now=NOW)


def used(store: Store, at_s: float = 0) -> dict[str, float]:
    with store.read() as tx:
        return tx.usage.all(now=later(at_s))


class TestDevices:
    def test_half_is_forgotten_every_day(self, store: Store) -> None:
        use(store, "ann", 1000)
        assert used(store) == {"ann": 1000}
        assert used(store, DAY_S) == {"ann": pytest.approx(500)}
        assert used(store, 3 * DAY_S) == {"ann": pytest.approx(125)}
        assert used(store, DAY_S / 2) == {"ann": pytest.approx(1000 * 0.5**0.5)}

    def test_use_adds_up_as_if_each_part_decayed_alone(self, store: Store) -> None:
        parts = [(0, 100.0), (DAY_S, 40.0), (DAY_S * 1.5, 7.0)]
        for at_s, device_s in parts:
            use(store, "ann", device_s, at_s)
        use(store, "bob", 1.0, DAY_S)
        now_s = 2.25 * DAY_S
        expected = sum(device_s * 0.5 ** ((now_s - at_s) / DAY_S) for at_s, device_s in parts)
        assert used(store, now_s) == {"ann": pytest.approx(expected), "bob": pytest.approx(0.5**1.25)}

    def test_a_clock_that_was_set_back_makes_nothing_grow(self, store: Store) -> None:
        use(store, "ann", 100, DAY_S)
        assert used(store, 0) == {"ann": 100}
        use(store, "ann", 100, 0)
        assert used(store, DAY_S) == {"ann": pytest.approx(150)}

    def test_use_at_the_same_time_is_all_counted(self, store: Store) -> None:
        assert at_once(8, lambda _: use(store, "ann", 1)) == [None] * 8
        assert used(store) == {"ann": 8}

    def test_running_is_what_live_attempts_hold(self, store: Store) -> None:
        epoch = hold_lease(store).epoch
        for owner, gpus in (("ann", 0.25), ("ann", 1.0), ("bob", 4.0)):
            job = add_job(store, owner=owner)
            with store.begin() as tx:
                tx.jobs.claim(job.id, driver="d", cpus=3, gpus=gpus, epoch=epoch, now=NOW)
        with store.begin() as tx:
            assert tx.usage.running("ann") == (1.25, 6)
            assert tx.usage.running("eve") == (0.0, 0)
            tx.attempts.end(JobRef(job.id, 1), reason=ReasonCode.OK, message=None, now=NOW)
            assert tx.usage.running("bob") == (0.0, 0)


class TestDisk:
    @pytest.fixture
    def ref(self, store: Store) -> JobRef:
        return start(store, add_job(store, owner="ann").id)

    def test_datasets_and_checkpoints_count(self, store: Store, ref: JobRef) -> None:
        other = start(store, add_job(store, owner="bob").id)
        with store.begin() as tx:
            tx.datasets.add(dataset("ds-1", owner="ann"))
            tx.datasets.add(dataset("ds-2", owner="bob"))
            for step, size in ((10, 300), (20, 500)):
                tx.checkpoints.add(ref, checkpoint(ref.id, step, size_bytes=size))
            tx.checkpoints.add(other, checkpoint(other.id, 10, size_bytes=7))
        with store.read() as tx:
            assert (tx.usage.upload_bytes("ann"), tx.usage.disk_bytes("ann")) == (5_000_000_000, 5_000_000_800)
            assert (tx.usage.upload_bytes("eve"), tx.usage.disk_bytes("eve")) == (0, 0)

    def test_replaced_and_removed_checkpoints_count_no_more(self, store: Store, ref: JobRef) -> None:
        with store.begin() as tx:
            for size in (300, 400):
                tx.checkpoints.add(ref, checkpoint(ref.id, 10, size_bytes=size))
            assert tx.usage.disk_bytes("ann") == 400
            tx.checkpoints.add(ref, checkpoint(ref.id, 20, size_bytes=5))
            tx.checkpoints.remove(ref.id, [10])
            assert tx.usage.disk_bytes("ann") == 5
            tx.checkpoints.remove(ref.id, [20])
            assert tx.usage.disk_bytes("ann") == 0

    def test_everything_at_once(self, store: Store, ref: JobRef) -> None:
        add_job(store, owner="ann")
        with store.begin() as tx:
            tx.checkpoints.add(ref, checkpoint(ref.id, 10, size_bytes=300))
        with store.read() as tx:
            assert tx.usage.of("ann") == UsageRecord(1, 0.0, 2, 300, 0)


class TestQuotas:
    def test_nothing_set(self, store: Store) -> None:
        with store.read() as tx:
            assert tx.quotas.get("ann") == QuotaRecord("ann", None, None, None, None, None, None)
            assert tx.quotas.all() == {}

    def test_what_is_not_given_stays(self, store: Store) -> None:
        with store.begin() as tx:
            tx.quotas.set("ann", max_queued_jobs=5, max_disk_bytes=5_000_000_000)
            changed = tx.quotas.set("ann", max_running_gpus=0.5, max_disk_bytes=None, weight=2.0)
            tx.quotas.set("bob", max_running_cpus=0)
            assert tx.quotas.set("eve") == QuotaRecord("eve")
        expected = QuotaRecord("ann", max_queued_jobs=5, max_running_gpus=0.5, weight=2.0)
        assert changed == expected
        with store.read() as tx:
            assert tx.quotas.get("ann") == expected
            assert tx.quotas.all() == {"ann": expected, "bob": QuotaRecord("bob", max_running_cpus=0)}

    def test_a_lock_reads_what_is_set_and_makes_counts_come_one_after_the_other(self, store: Store) -> None:
        with store.begin() as tx:
            assert tx.quotas.lock("ann") == QuotaRecord("ann")
            tx.quotas.set("ann", max_queued_jobs=5)
            assert tx.quotas.lock("ann") == QuotaRecord("ann", max_queued_jobs=5)
        num_jobs: list[int] = []

        def count_and_add(_number: int) -> None:
            with store.begin() as tx:
                tx.quotas.lock("ann")
                num_jobs.append(tx.jobs.num_queued("ann"))
                add_to(tx, "ann")

        assert at_once(6, count_and_add) == [None] * 6
        assert sorted(num_jobs) == [0, 1, 2, 3, 4, 5]

    def test_first_settings_at_the_same_time(self, store: Store) -> None:
        def set_one(number: int) -> QuotaRecord:
            with store.begin() as tx:
                if number:
                    return tx.quotas.set("ann", max_queued_jobs=5)
                return tx.quotas.set("ann", weight=2.0)

        assert all(isinstance(result, QuotaRecord) for result in at_once(2, set_one))
        with store.read() as tx:
            assert tx.quotas.get("ann") == QuotaRecord("ann", max_queued_jobs=5, weight=2.0)

    def test_settings_fill_what_is_not_set(self) -> None:
        settings = Settings(quota_queued_jobs=7, quota_running_gpus=1.5, quota_disk_bytes=100)
        own = QuotaRecord("ann", max_queued_jobs=0, max_upload_bytes=9)
        assert effective_quota(own, settings) == QuotaRecord("ann", 0, 1.5, None, 100, 9, 1.0)

    def test_default_settings_limit_the_queue_only(self) -> None:
        limits = effective_quota(QuotaRecord("ann", weight=0.5), Settings())
        assert limits == QuotaRecord("ann", max_queued_jobs=10_000, weight=0.5)


def test_paused_jobs_use_no_devices_and_no_place(store: Store) -> None:
    reach(store, JobStatus.PAUSED)
    claim(store, add_job(store).id)
    with store.read() as tx:
        usage = tx.usage.of("local")
    assert (usage.queued_jobs, usage.running_cpus) == (0, 2)
