"""Requests that come at the same moment meet the same limits, on SQLite and on PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from ftlab.errors import RateLimitError
from ftlab.settings import Settings
from serve.accounts.quotas import check_upload
from tests.support.databases import postgres_database, postgres_url, sqlite_url, store_url
from tests.support.postgres import postgres
from tests.unit.tracking.samples import at_once, dataset

__all__ = ["postgres", "postgres_database", "postgres_url", "sqlite_url", "store_url"]

JOBS = "/api/training/jobs"
MOST = 5
AT_ONCE = 12
ROUNDS = 4


@pytest.fixture
def settings(tmp_path, store_url) -> Settings:
    return Settings(home=tmp_path / "home", database_url=store_url, quota_queued_jobs=MOST)


def test_submits_at_once_fill_the_queue_to_the_limit_and_no_further(client, config):
    for _ in range(ROUNDS):
        with ThreadPoolExecutor(AT_ONCE) as pool:
            replies = list(pool.map(lambda _: client.post(JOBS, json=config), range(AT_ONCE)))
        assert sorted(reply.status_code for reply in replies) == [201] * MOST + [429] * (AT_ONCE - MOST)
        for reply in replies:
            if reply.status_code == 201:
                client.post(f"{JOBS}/{reply.json()['id']}/cancel")


def test_uploads_at_once_fill_the_limit_of_bytes_and_no_further(services, store):
    size = dataset("ds-0").size_bytes
    with store.begin() as tx:
        tx.quotas.set("local", max_upload_bytes=MOST * size)

    def keep(number: int) -> None:
        with store.begin() as tx:
            check_upload(tx, services.settings, "local", size)
            tx.datasets.add(dataset(f"ds-{number}"))

    refused = [outcome for outcome in at_once(AT_ONCE, keep) if outcome is not None]
    assert [type(error) for error in refused] == [RateLimitError] * (AT_ONCE - MOST)
    with store.read() as tx:
        assert tx.usage.upload_bytes("local") == MOST * size
