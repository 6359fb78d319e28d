"""The benchmarks fill the tables without the store, so they must know every column."""

from tests.bench.stock import add_queued, noop_config, open_stock


def test_the_jobs_of_the_benchmarks_are_jobs_for_the_store(tmp_path):
    stock = open_stock(tmp_path / "stock.db", num_jobs=5, num_queued=2)
    added = add_queued(stock.store, noop_config(), 1)
    with stock.store.read() as tx:
        found = [tx.jobs.get(job_id) for job_id in (*stock.ids, *added)]
        attempts = tx.attempts.of_job(stock.ids[0])
    assert [job.status.value for job in found] == ["completed"] * 3 + ["queued"] * 3
    assert [attempt.process_devices for attempt in attempts] == [()]
    stock.store.close()
