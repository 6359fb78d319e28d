"""Work that stays the same however many jobs there are: which index serves what, and how much of it is read."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import event, insert, text

from ftlab.schemas import JobConfig
from ftlab.status import JobStatus
from tests.unit.tracking.samples import CONFIG, NOW, add_job, checkpoint, hold_lease, start
from tracking.store import Store, Transaction
from tracking.store.jobs import NEW_JOB
from tracking.store.rows import idempotency_keys, jobs

S = JobStatus
Call = Callable[[Transaction], object]

READS: dict[str, tuple[str, Call]] = {
    "queue": ("ix_jobs_queue", lambda tx: tx.jobs.queued()),
    "position": ("ix_jobs_queue", lambda tx: tx.jobs.queue_positions(["job-0"])),
    "positions": ("ix_jobs_queue", lambda tx: tx.jobs.queue_positions(["job-0", "job-1", "job-2"])),
    "front": ("ix_jobs_queue", lambda tx: tx.jobs.front_shift(50)),
    "page of the queue": ("ix_jobs_queue_by_owner", lambda tx: tx.jobs.queue_page("local", after="job-0")),
    "heads": ("ix_jobs_queue_by_owner", lambda tx: tx.jobs.queue_heads(5, now=NOW)),
    "live": ("ix_jobs_live", lambda tx: tx.jobs.live()),
    "outbox": ("ix_jobs_behind_mlflow", lambda tx: tx.jobs.behind_mlflow()),
    "notifier": ("ix_jobs_behind_notifier", lambda tx: tx.notifications.behind(9)),
    "notifications": ("ix_notifications_owner", lambda tx: tx.notifications.list(owner="local")),
    "unread": ("ix_notifications_unread", lambda tx: tx.notifications.num_unread(owner="local")),
    "list": ("ix_jobs_owner", lambda tx: tx.jobs.list(owner="local")),
    "list by status": ("ix_jobs_owner_status", lambda tx: tx.jobs.list(owner="local", statuses=[S.FAILED, S.QUEUED])),
    "name": ("ix_jobs_owner_name", lambda tx: tx.jobs.resolve("a job 0", owner="local")),
    "disk": ("ix_jobs_owner_disk", lambda tx: tx.usage.disk_bytes("local")),
    "running": ("uq_attempts_live", lambda tx: tx.usage.running("local")),
    "attempts": ("uq_attempts_live", lambda tx: tx.attempts.live()),
    "unreleased": ("ix_attempts_unreleased", lambda tx: tx.attempts.unreleased()),
    "uncounted": ("ix_attempts_uncounted", lambda tx: tx.attempts.uncounted()),
    "based on a job": ("ix_jobs_base_job", lambda tx: tx.deletions._find_user("job-0")),
    "waiting jobs": ("ix_chain_links_open", lambda tx: tx.chains.waiting_jobs(9)),
    "children": ("ix_chain_links_parent", lambda tx: tx.chains.links_of(["job-0"])),
    "left folders": ("ix_deleted_records_files", lambda tx: tx.deletions.with_files()),
    "key of a deleted sweep": ("ix_deleted_records_key", lambda tx: tx.sweeps.deleted_of_key("local", "k")),
}

LIKE_IT_ON_POSTGRES = {"list by status": "ix_jobs_owner", "notifier": "pk_jobs"}
"""Indexes that begin like the expected one and serve a single row alike: statistics decide which is taken."""


@pytest.mark.parametrize("name", READS)
def test_index_is_used(store: Store, name: str) -> None:
    add_job(store, job_id="job-0", name="a job 0")
    index, call = READS[name]
    is_postgres = store._database._reader.dialect.name == "postgresql"
    alike = LIKE_IT_ON_POSTGRES.get(name, index) if is_postgres else index
    found = plan(store, call)
    assert index in found or alike in found


@pytest.mark.parametrize("name", ["position", "positions", "front"])
def test_the_index_alone_is_enough(sqlite_url: str, name: str) -> None:
    """Without a look at the row behind each entry."""
    store = Store.open(sqlite_url)
    index, call = READS[name]
    steps = [step for step in plan(store, call).splitlines() if index in step]
    assert len(steps) >= 1
    assert all("COVERING INDEX" in step for step in steps)
    store.close()


def plan(store: Store, call: Call) -> str:
    """How the database runs the statements of a call."""
    statements: list[tuple[str, object]] = []
    engine = store._database._reader

    def keep(*args: object) -> None:
        statements.append((str(args[2]), args[3]))

    event.listen(engine, "before_cursor_execute", keep)
    with store.read() as tx:
        call(tx)
    event.remove(engine, "before_cursor_execute", keep)
    steps: list[str] = []
    with store._database.reading() as connection:
        explain = "EXPLAIN QUERY PLAN"
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL enable_seqscan = off"))
            explain = "EXPLAIN"
        for statement, parameters in statements:
            rows = connection.exec_driver_sql(f"{explain} {statement}", parameters)  # type: ignore[arg-type]
            steps += [str(row[-1]) for row in rows]
    return "\n".join(steps)


FEW, MANY = 500, 6_000


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Store]]:
    """With few and with many ended jobs, and with few and with many queued ones."""
    sizes = {"few": (FEW, 100), "many ended": (MANY, 100), "many queued": (FEW, MANY)}
    folder = tmp_path_factory.mktemp("work")
    opened = {}
    for name, (num_ended, num_queued) in sizes.items():
        opened[name] = Store.open(f"sqlite:///{folder / name}.db")
        opened[name].migrate()
        fill(opened[name], num_ended, num_queued)
    yield opened
    for store in opened.values():
        store.close()


class TestWork:
    """SQLite counts the instructions of its virtual machine, so work is measured without a clock."""

    @pytest.mark.parametrize(
        "call",
        [
            lambda tx: tx.jobs.get("queued-90"),
            lambda tx: tx.jobs.resolve("queued-90", owner="local"),
            lambda tx: tx.jobs.resolve("name of queued-90", owner="local"),
            lambda tx: tx.jobs.list(owner="local"),
            lambda tx: tx.jobs.list(owner="local", after="ended-300"),
            lambda tx: tx.jobs.list(owner="local", statuses=[S.FAILED, S.QUEUED]),
            lambda tx: tx.jobs.list(owner="local", statuses=[S.RUNNING, S.CANCELLED]),
            lambda tx: tx.jobs.queued(50),
            lambda tx: tx.jobs.queue_heads(50, now=NOW),
            lambda tx: tx.jobs.queue_page("local"),
            lambda tx: tx.jobs.queue_page("local", after="queued-50"),
            lambda tx: tx.jobs.queue_positions(["queued-50"]),
            lambda tx: tx.jobs.queue_positions([f"queued-{number}" for number in range(30, 50)]),
            lambda tx: tx.jobs.front_shift(50),
            lambda tx: tx.jobs.live(),
            lambda tx: tx.jobs.behind_mlflow(),
            lambda tx: tx.usage.running("local"),
        ],
    )
    def test_look_ups_stay_flat(self, stores: dict[str, Store], call: Call) -> None:
        with stores["few"].read() as tx, counting(tx) as few:
            call(tx)
        for name in ("many ended", "many queued"):
            with stores[name].read() as tx, counting(tx) as many:
                call(tx)
            assert many[0] <= few[0] * 1.2 + 20, name

    @pytest.mark.parametrize(
        "call",
        [
            lambda tx: tx.jobs.num_queued("local"),
            lambda tx: tx.jobs.has_queued("local", 99),
        ],
    )
    def test_counts_do_not_see_ended_jobs(self, stores: dict[str, Store], call: Call) -> None:
        with stores["few"].read() as tx, counting(tx) as few:
            call(tx)
        with stores["many ended"].read() as tx, counting(tx) as many:
            call(tx)
        assert many[0] <= few[0] * 1.2 + 20

    def test_a_page_of_positions_costs_little_more_than_the_last_of_them(self, stores: dict[str, Store]) -> None:
        page = [f"queued-{number}" for number in range(MANY - 20, MANY)]
        with stores["many queued"].read() as tx:
            with counting(tx) as one:
                tx.jobs.queue_positions(page[-1:])
            with counting(tx) as twenty:
                assert len(tx.jobs.queue_positions(page)) == 20
        assert twenty[0] <= one[0] * 1.2

    def test_writes_stay_flat(self, stores: dict[str, Store]) -> None:
        def write(tx: Transaction) -> None:
            tx.jobs.claim("queued-40", driver="d", cpus=1, gpus=0, epoch=1, now=NOW)
            tx.jobs.move_to_front("queued-60")
            tx.jobs.set_priority("queued-61", 60)
            tx.jobs.set_waiting({f"queued-{number}": "Waits." for number in range(70, 80)})
            tx.jobs.add(
                "job-new",
                owner="local",
                name="new",
                config=JobConfig(model="org/name", dataset="ds-1"),
                idempotency_key="key",
                now=NOW,
            )

        counts = {}
        for name, store in stores.items():
            hold_lease(store)
            with store.begin() as tx, counting(tx) as count:
                write(tx)
            counts[name] = count[0]
        assert max(counts.values()) <= counts["few"] * 1.2

    def test_a_deletion_stays_flat(self, stores: dict[str, Store]) -> None:
        """Also where the database checks the foreign keys of other tables."""
        counts = {}
        for name, store in stores.items():
            with store.begin() as tx, counting(tx) as count:
                tx.deletions.delete_job("ended-7", now=NOW)
                tx.deletions.delete_job("ended-8", now=NOW)
            counts[name] = count[0]
        assert max(counts.values()) <= counts["few"] * 1.2 + 20

    def test_disk_of_an_owner_is_not_summed_up_from_the_checkpoints(self, sqlite_url: str) -> None:
        store = Store.open(sqlite_url)
        ref = start(store, add_job(store).id)
        work = []
        for steps in (range(2), range(2, 200)):
            with store.begin() as tx:
                for step in steps:
                    tx.checkpoints.add(ref, checkpoint(ref.id, step, size_bytes=1))
            with store.read() as tx, counting(tx) as count:
                assert tx.usage.disk_bytes("local") == steps.stop
            work.append(count[0])
        assert work[1] <= work[0] * 1.2
        store.close()


def fill(store: Store, num_ended: int, num_queued: int) -> None:
    common = {
        **NEW_JOB,
        "owner": "local",
        "config": CONFIG,
        "dataset_id": "ds-1",
        "eval_dataset_id": None,
        "priority": 50,
    }
    common |= {
        "resolved_config": JobConfig.model_validate(CONFIG),
        "created_at": NOW,
        "updated_at": NOW,
        "mlflow_seq": 1,
    }
    rows = [
        {**common, "id": f"ended-{number}", "status": S.COMPLETED if number % 4 else S.FAILED}
        for number in range(num_ended)
    ]
    rows += [{**common, "id": f"queued-{number}", "status": S.QUEUED} for number in range(num_queued)]
    with store._database.writing() as connection:
        connection.execute(insert(jobs), [{**row, "name": f"name of {row['id']}"} for row in rows])
        keys = [{"owner": "local", "key": row["id"], "body_sha256": "0", "job_id": row["id"]} for row in rows]
        connection.execute(insert(idempotency_keys), keys)


@contextmanager
def counting(tx: Transaction) -> Iterator[list[int]]:
    """How many instructions the transaction's connection runs."""
    count = [0]

    def tick() -> int:
        count[0] += 1
        return 0

    connection = tx.jobs._connection.connection.dbapi_connection
    assert connection is not None
    connection.set_progress_handler(tick, 1)
    yield count
    connection.set_progress_handler(None, 0)
