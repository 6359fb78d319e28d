"""The queue: its order, the places in it, and what changes them."""

from random import Random

import pytest
from sqlalchemy import insert

from ftlab.errors import MalformedRequestError
from ftlab.schemas import JobConfig
from ftlab.status import JobStatus, ReasonCode
from tests.unit.tracking.samples import CONFIG, NOW, add_job, at_once, claim, get_job, later, reach, start
from tracking.store import StaleJobError, Store
from tracking.store.jobs import NEW_JOB
from tracking.store.rows import jobs

S = JobStatus


def order(store: Store) -> list[str]:
    with store.read() as tx:
        return [job.id for job in tx.jobs.queued()]


def test_order_is_priority_then_submit(store: Store) -> None:
    ids = [add_job(store).id for _ in range(4)]
    ref = start(store, ids[2])
    with store.begin() as tx:
        tx.attempts.end(ref, reason=ReasonCode.PREEMPTED, message=None, now=NOW)
        tx.jobs.move(ref, S.QUEUED, now=NOW, priority=51)
    expected = [ids[2], ids[0], ids[1], ids[3]]
    with store.read() as tx:
        assert [job.id for job in tx.jobs.queued()] == expected
        assert [job.id for job in tx.jobs.queued(limit=2)] == expected[:2]
        assert [tx.jobs.queue_positions([job_id]) for job_id in expected] == [
            {job_id: position} for position, job_id in enumerate(expected, start=1)
        ]
        assert tx.jobs.queue_positions(ids) == {job_id: position for position, job_id in enumerate(expected, start=1)}


def test_retried_job_keeps_its_place(store: Store) -> None:
    ids = [add_job(store).id for _ in range(3)]
    ref = start(store, ids[0])
    with store.begin() as tx:
        tx.attempts.end(ref, reason=ReasonCode.NODE_LOST, message=None, now=NOW)
        tx.jobs.move(ref, S.QUEUED, now=NOW)
    with store.read() as tx:
        assert [job.id for job in tx.jobs.queued()] == ids


def test_not_before(store: Store) -> None:
    waiting, ready = add_job(store).id, add_job(store).id
    ref = start(store, waiting)
    with store.begin() as tx:
        tx.attempts.end(ref, reason=ReasonCode.WORKER_CRASHED, message=None, now=NOW)
        tx.jobs.move(ref, S.QUEUED, now=NOW, not_before=later(30))
    with store.read() as tx:
        assert [job.id for job in tx.jobs.queue_heads(9, now=later(29))] == [ready]
        assert [job.id for job in tx.jobs.queue_heads(9, now=later(30))] == [waiting, ready]
        assert [job.id for job in tx.jobs.queued()] == [waiting, ready]
        assert tx.jobs.queue_positions([ready]) == {ready: 2}
        # The clock was set back by an hour.
        assert [job.id for job in tx.jobs.queue_heads(9, now=later(-3600))] == [waiting, ready]


def test_position_of_others_is_none(store: Store) -> None:
    running = reach(store, S.RUNNING).id
    with store.read() as tx:
        assert tx.jobs.queue_positions([running]) == tx.jobs.queue_positions(["job-none"]) == {}
        assert tx.jobs.queue_positions([running, "job-none"]) == {}


def test_concurrent_submits_keep_every_job(store: Store) -> None:
    at_once(8, lambda _: [add_job(store).id for _ in range(10)])
    with store.read() as tx:
        seqs = [job.queue_seq for job in tx.jobs.queued()]
    assert len(seqs) == 80
    assert seqs == sorted(set(seqs))


def test_priority_goes_before_the_front_and_the_front_before_submit_order(store: Store) -> None:
    low, first, second, high = (add_job(store, config={"priority": priority}).id for priority in (10, 50, 50, 90))
    assert order(store) == [high, first, second, low]
    with store.begin() as tx:
        tx.jobs.move_to_front(low)
        tx.jobs.move_to_front(second)
    assert order(store) == [high, second, first, low]
    with store.begin() as tx:
        tx.jobs.move_to_front(first)
    assert order(store) == [high, first, second, low]


def test_a_job_at_the_front_stays_before_later_ones(store: Store) -> None:
    first, second = add_job(store).id, add_job(store).id
    with store.begin() as tx:
        tx.jobs.move_to_front(second)
    third = add_job(store).id
    assert order(store) == [second, first, third]


def test_a_job_moves_right_behind_another_one(store: Store) -> None:
    a, b, c, d = (add_job(store).id for _ in range(4))
    for job, other, expected in (
        (d, a, [a, d, b, c]),
        (a, c, [d, b, c, a]),
        (d, b, [b, d, c, a]),
        (c, d, [b, d, c, a]),  # it is there already
        (a, b, [b, a, d, c]),
    ):
        with store.begin() as tx:
            tx.jobs.move_behind(job, other)
        assert order(store) == expected
    late, high = add_job(store).id, add_job(store, config={"priority": 60}).id
    assert order(store) == [high, b, a, d, c, late]
    running = reach(store, S.RUNNING).id
    for job, other in ((late, high), (late, running), (running, late)):
        with store.begin() as tx, pytest.raises(StaleJobError):
            tx.jobs.move_behind(job, other)


def test_front_shift_is_that_of_its_priority(store: Store) -> None:
    job = add_job(store, config={"priority": 50})
    add_job(store, config={"priority": 70})
    with store.begin() as tx:
        assert tx.jobs.front_shift(40) == 0
        assert tx.jobs.front_shift(50) == -1
        tx.jobs.move_to_front(job.id)
        assert tx.jobs.get(job.id).queue_shift == -1
        assert (tx.jobs.front_shift(50), tx.jobs.front_shift(70)) == (-2, -1)


def test_preempted_job_goes_to_the_head_of_its_priority(store: Store) -> None:
    running, waiting = add_job(store).id, add_job(store).id
    ref = start(store, running)
    high = add_job(store, config={"priority": 60}).id
    with store.begin() as tx:
        tx.jobs.move_to_front(waiting)
        tx.attempts.end(ref, reason=ReasonCode.PREEMPTED, message=None, now=NOW)
        tx.jobs.move(ref, S.QUEUED, now=NOW, queue_shift=tx.jobs.front_shift(50))
    assert order(store) == [high, running, waiting]
    again = claim(store, running)
    with store.begin() as tx:
        tx.attempts.end(again, reason=ReasonCode.NODE_LOST, message=None, now=NOW)
        tx.jobs.move(again, S.QUEUED, now=NOW)
    assert order(store) == [high, running, waiting]


def test_another_priority_is_a_place_by_submit_order_there(store: Store) -> None:
    moved, first = add_job(store, config={"priority": 50}).id, add_job(store, config={"priority": 60}).id
    last = add_job(store, config={"priority": 60}).id
    with store.begin() as tx:
        tx.jobs.move_to_front(last)
        tx.jobs.move_to_front(moved)
        tx.jobs.set_priority(last, 60)
        tx.jobs.set_priority(moved, 60)
    assert order(store) == [last, moved, first]
    with store.begin() as tx:
        tx.jobs.set_priority(moved, 0)
    assert order(store) == [last, first, moved]


@pytest.mark.parametrize("status", JobStatus)
def test_priority_of_every_job_that_has_not_ended(store: Store, status: JobStatus) -> None:
    ref = reach(store, status)
    if status.is_terminal:
        with pytest.raises(StaleJobError), store.begin() as tx:
            tx.jobs.set_priority(ref.id, 70)
    else:
        with store.begin() as tx:
            tx.jobs.set_priority(ref.id, 70)
    assert get_job(store, ref.id).priority == (50 if status.is_terminal else 70)


@pytest.mark.parametrize("status", [status for status in JobStatus if status is not S.QUEUED])
def test_only_queued_jobs_move_to_the_front(store: Store, status: JobStatus) -> None:
    ref = reach(store, status)
    before = get_job(store, ref.id)
    with pytest.raises(StaleJobError), store.begin() as tx:
        tx.jobs.move_to_front(ref.id)
    assert get_job(store, ref.id) == before


def test_move_to_front_while_the_job_is_claimed(store: Store) -> None:
    for _ in range(10):
        job = add_job(store)

        def move_or_claim(side: int, job_id: str = job.id) -> None:
            if side:
                claim(store, job_id)
            else:
                with store.begin() as tx:
                    tx.jobs.move_to_front(job_id)

        moved, claimed = at_once(2, move_or_claim)
        assert claimed is None
        after = get_job(store, job.id)
        assert after.status is S.PENDING
        assert (after.queue_shift < 0) == (moved is None)
        assert moved is None or isinstance(moved, StaleJobError)


def test_positions_are_those_of_the_whole_queue(store: Store) -> None:
    random = Random(7)
    ids = [add_job(store, config={"priority": random.choice([10, 50, 90])}).id for _ in range(40)]
    with store.begin() as tx:
        for job_id in random.sample(ids, 8):
            tx.jobs.move_to_front(job_id)
        for job_id in random.sample(ids, 5):
            tx.jobs.move(tx.jobs.get(job_id).ref, S.PAUSED, now=NOW)
    expected = {job_id: position for position, job_id in enumerate(order(store), start=1)}
    assert len(expected) == 35
    with store.read() as tx:
        assert tx.jobs.queue_positions(ids) == expected
        assert tx.jobs.queue_positions([]) == {}
        for size in (1, 2, 7):
            some = random.sample(ids, size)
            assert tx.jobs.queue_positions(some) == {job_id: expected[job_id] for job_id in some if job_id in expected}
        for job_id in ids:
            assert tx.jobs.queue_positions([job_id]).get(job_id) == expected.get(job_id)


def test_positions_in_a_long_queue(store: Store) -> None:
    """At its head, at its end and between."""
    random = Random(11)
    values = {**NEW_JOB, "owner": "local", "name": "", "config": CONFIG, "dataset_id": "ds-1", "eval_dataset_id": None}
    values |= {"resolved_config": JobConfig.model_validate(CONFIG), "created_at": NOW, "updated_at": NOW}
    rows = [
        {
            **values,
            "id": f"job-{number}",
            "priority": random.choice([10, 50, 90]),
            "queue_shift": random.choice([0, 0, -1]),
        }
        for number in range(1500)
    ]
    with store._database.writing() as connection:
        connection.execute(insert(jobs), rows)
    with store.read() as tx:
        in_order = [job.id for job in tx.jobs.queued(limit=len(rows))]
        expected = {job_id: position for position, job_id in enumerate(in_order, start=1)}
        assert tx.jobs.queue_positions(in_order) == expected
        for start_at in (0, 1, 249, 750, 1250, 1499):
            page = in_order[start_at : start_at + 20]
            assert tx.jobs.queue_positions(page) == {job_id: expected[job_id] for job_id in page}
            assert tx.jobs.queue_positions(page[:1]) == {page[0]: start_at + 1}
        scattered = random.sample(in_order, 30)
        assert tx.jobs.queue_positions(scattered) == {job_id: expected[job_id] for job_id in scattered}


def test_pages_of_one_owner_are_in_the_order_of_the_queue(store: Store) -> None:
    random = Random(5)
    owners, priorities = ["ann", "bob"], [10, 50]
    ids = [
        add_job(store, owner=random.choice(owners), config={"priority": random.choice(priorities)}).id
        for _ in range(30)
    ]
    with store.begin() as tx:
        for job_id in random.sample(ids, 6):
            tx.jobs.move_to_front(job_id)
    with store.read() as tx:
        mine = [job.id for job in tx.jobs.queued() if job.owner == "ann"]
        for limit in (1, 4, 100):
            found: list[str] = []
            while page := tx.jobs.queue_page("ann", after=found[-1] if found else None, limit=limit):
                assert len(page) <= limit
                found += [job.id for job in page]
            assert found == mine
    claim(store, mine[3])
    with store.read() as tx:
        assert [job.id for job in tx.jobs.queue_page("ann", after=mine[3], limit=2)] == mine[4:6], "it has left"


@pytest.mark.parametrize("after", ["job-none", "bobs"])
def test_a_page_behind_a_job_that_is_not_there(store: Store, after: str) -> None:
    add_job(store, job_id="bobs", owner="bob")
    with store.read() as tx, pytest.raises(MalformedRequestError) as caught:
        tx.jobs.queue_page("ann", after=after)
    assert caught.value.code == "invalid_cursor"


def test_whether_an_owner_has_so_many(store: Store) -> None:
    for owner in ("ann", "ann", "bob"):
        add_job(store, owner=owner)
    start(store, add_job(store, owner="ann").id)
    with store.read() as tx:
        assert [tx.jobs.has_queued("ann", count) for count in (0, 1, 2, 3, 4)] == [True, True, True, False, False]
        assert [tx.jobs.has_queued("eve", count) for count in (0, 1)] == [True, False]


def test_heads_are_the_first_jobs_of_each_owner_in_queue_order(store: Store) -> None:
    ann = [add_job(store, owner="ann", config={"priority": priority}).id for priority in (50, 50, 80)]
    bob = [add_job(store, owner="bob", config={"priority": priority}).id for priority in (60, 50)]
    start(store, add_job(store, owner="eve").id)
    with store.begin() as tx:
        tx.jobs.move_to_front(ann[1])
    with store.read() as tx:
        assert [job.id for job in tx.jobs.queue_heads(1, now=NOW)] == [ann[2], bob[0]]
        assert [job.id for job in tx.jobs.queue_heads(2, now=NOW)] == [ann[2], bob[0], ann[1], bob[1]]
        assert [job.id for job in tx.jobs.queue_heads(9, now=NOW)] == order(store)
        assert (tx.jobs.num_queued("ann"), tx.jobs.num_queued("eve")) == (3, 0)


def test_heads_of_an_empty_queue(store: Store) -> None:
    reach(store, S.RUNNING)
    with store.read() as tx:
        assert tx.jobs.queue_heads(3, now=NOW) == []


def test_heads_pass_over_jobs_that_wait_for_a_later_time(store: Store) -> None:
    waiting, ready = add_job(store).id, add_job(store).id
    ref = start(store, waiting)
    with store.begin() as tx:
        tx.attempts.end(ref, reason=ReasonCode.WORKER_CRASHED, message=None, now=NOW)
        tx.jobs.move(ref, S.QUEUED, now=NOW, not_before=later(30))
    with store.read() as tx:
        assert [job.id for job in tx.jobs.queue_heads(1, now=later(29))] == [ready]
        assert [job.id for job in tx.jobs.queue_heads(1, now=later(30))] == [waiting]


class TestWaiting:
    def test_only_new_sentences_are_written(self, store: Store) -> None:
        first, second = add_job(store).id, add_job(store).id
        with store.begin() as tx:
            assert tx.jobs.set_waiting({first: "Waits for 2 GPUs, 1 free.", second: "Waits."}) == 2
            assert tx.jobs.set_waiting({first: "Waits for 2 GPUs, 1 free.", second: None}) == 1
            assert tx.jobs.set_waiting({first: "Waits for 2 GPUs, 1 free."}) == 0
            assert tx.jobs.set_waiting({}) == 0
        assert get_job(store, first).waiting_for == "Waits for 2 GPUs, 1 free."
        assert get_job(store, second).waiting_for is None

    def test_that_data_is_ready_is_kept_until_a_file_is_appended(self, store: Store) -> None:
        first, second = add_job(store).id, add_job(store, config={"dataset": "ds-1"}).id
        with store.begin() as tx:
            tx.jobs.set_data_ready({first: "Dataset ds-1: fine.", second: "Dataset ds-1: fine.", "job-none": "Fine."})
            tx.jobs.set_data_ready({})
            tx.job_files.append(tx.jobs.get(second), ["ds-1"], now=NOW)
        assert get_job(store, first).data_findings == "Dataset ds-1: fine."
        assert get_job(store, second).data_findings is None

    @pytest.mark.parametrize("status", [status for status in JobStatus if status is not S.QUEUED])
    def test_only_queued_jobs_wait(self, store: Store, status: JobStatus) -> None:
        ref = reach(store, status)
        with store.begin() as tx:
            assert tx.jobs.set_waiting({ref.id: "Waits.", "job-none": "Waits."}) == 0
        assert get_job(store, ref.id).waiting_for is None

    @pytest.mark.parametrize("target", [S.PAUSED, S.CANCELLING, S.FAILED])
    def test_sentence_goes_when_the_job_leaves_the_queue(self, store: Store, target: JobStatus) -> None:
        job, claimed = add_job(store), add_job(store)
        with store.begin() as tx:
            tx.jobs.set_waiting({job.id: "Waits.", claimed.id: "Waits."})
            tx.jobs.move(job.ref, target, now=NOW)
        claim(store, claimed.id)
        assert (get_job(store, job.id).waiting_for, get_job(store, claimed.id).waiting_for) == (None, None)
