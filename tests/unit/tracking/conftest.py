"""Every store test runs on SQLite and on PostgreSQL."""

from collections.abc import Iterator

import pytest

from tests.support.databases import postgres_database, postgres_url, sqlite_url, store_url
from tests.support.postgres import postgres
from tracking.store import Store

__all__ = ["postgres", "postgres_database", "postgres_url", "sqlite_url", "store_url"]


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    opened = Store.open(store_url)
    yield opened
    opened.close()
