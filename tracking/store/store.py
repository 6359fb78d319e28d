"""The store: transactions with one repository for each kind of record."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from sqlalchemy import Connection

from tracking.store.adjustments import AdjustmentRepository
from tracking.store.api_keys import KeyRepository
from tracking.store.attempts import AttemptRepository
from tracking.store.audit import AuditRepository
from tracking.store.budget_warnings import BudgetWarningRepository
from tracking.store.chains import ChainRepository
from tracking.store.channels import ChannelRepository
from tracking.store.checkpoints import CheckpointRepository
from tracking.store.claims import ClaimRepository
from tracking.store.costs import CostRepository
from tracking.store.database import LAZY_LOG_PAGES, LOG_PAGES, Database
from tracking.store.datasets import DatasetRepository
from tracking.store.deletions import DeletionRepository
from tracking.store.device_faults import DeviceFaultRepository
from tracking.store.disk import DiskRepository
from tracking.store.engines import EngineRepository
from tracking.store.evaluations import EvaluationRepository
from tracking.store.events import EventRepository
from tracking.store.job_files import JobFileRepository
from tracking.store.jobs import JobRepository
from tracking.store.key_counts import KeyCountRepository
from tracking.store.leases import LeaseRepository
from tracking.store.metrics import MetricRepository
from tracking.store.models import ModelRepository
from tracking.store.notifications import NotificationRepository
from tracking.store.openai_jobs import OpenAiJobRepository
from tracking.store.quotas import QuotaRepository
from tracking.store.sweeps import SweepRepository
from tracking.store.telemetry import TelemetryRepository
from tracking.store.templates import TemplateRepository
from tracking.store.totals import TotalsRepository
from tracking.store.uploads import UploadRepository
from tracking.store.usage import UsageRepository
from tracking.store.users import UserRepository


class Transaction:
    """The repositories of one transaction."""

    def __init__(self, connection: Connection, *, is_writing: bool) -> None:
        self.jobs = JobRepository(connection)
        self.job_files = JobFileRepository(connection)
        self.adjustments = AdjustmentRepository(connection)
        self.chains = ChainRepository(connection)
        self.attempts = AttemptRepository(connection)
        self.engines = EngineRepository(connection)
        self.events = EventRepository(connection)
        self.metrics = MetricRepository(connection)
        self.telemetry = TelemetryRepository(connection)
        self.checkpoints = CheckpointRepository(connection)
        self.disk = DiskRepository(connection)
        self.datasets = DatasetRepository(connection, is_writing=is_writing)
        self.uploads = UploadRepository(connection)
        self.claims = ClaimRepository(connection)
        self.models = ModelRepository(connection)
        self.openai_jobs = OpenAiJobRepository(connection)
        self.evaluations = EvaluationRepository(connection)
        self.deletions = DeletionRepository(connection)
        self.leases = LeaseRepository(connection)
        self.quotas = QuotaRepository(connection)
        self.templates = TemplateRepository(connection)
        self.notifications = NotificationRepository(connection)
        self.channels = ChannelRepository(connection)
        self.costs = CostRepository(connection)
        self.budget_warnings = BudgetWarningRepository(connection)
        self.device_faults = DeviceFaultRepository(connection)
        self.sweeps = SweepRepository(connection)
        self.usage = UsageRepository(connection)
        self.totals = TotalsRepository(connection)
        self.users = UserRepository(connection)
        self.keys = KeyRepository(connection)
        self.audit = AuditRepository(connection)
        self.key_counts = KeyCountRepository(connection)


class Store:
    """Access to the database. Safe for many threads, and for many processes on the same database.

    A network or Ray call never happens inside a transaction, and transactions do not nest.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def open(cls, url: str, *, busy_timeout_s: float = 10.0, is_waited_for: bool = False) -> Self:
        """Create the engines for `sqlite:///<file>` or `postgresql://...`; nothing connects before the first use.

        `busy_timeout_s` limits how long SQLite waits for another writer. A process whose writes are waited for
        (`is_waited_for`), by a request or for a live event, leaves it to the others to copy SQLite's log into the
        database, as long as they do. Raises `InvalidRequestError` (code `invalid_setting`) for any other URL.
        """
        return cls(Database.open(url, busy_timeout_s, LAZY_LOG_PAGES if is_waited_for else LOG_PAGES))

    def migrate(self) -> None:
        """Migrate the tables to the newest version. Several processes may call this at once."""
        # Alembic takes 0.1 s to import, and most processes never migrate.
        from tracking.store.migrate import upgrade

        with self._database.writing() as connection:
            upgrade(connection)

    @contextmanager
    def begin(self) -> Iterator[Transaction]:
        """A write transaction: committed at the end, rolled back on an exception.

        Raises `ServiceUnavailableError` when the database is locked or unavailable.
        """
        with self._database.writing() as connection:
            yield Transaction(connection, is_writing=True)

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """A read-only snapshot. Raises `ServiceUnavailableError` when the database is locked or unavailable."""
        with self._database.reading() as connection:
            yield Transaction(connection, is_writing=False)

    def close(self) -> None:
        self._database.close()
