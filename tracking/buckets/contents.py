"""Files by content: a bucket stores each content once, for as long as a dataset needs it.

A process holds the claim of a content (`tracking.store.claims`) while it stores or removes its files. The row of a
dataset is added in the transaction that releases the claim, so a row never refers to files that another process
removes. Files are removed only under the claim, after a check that no row needs them. Every other release removes the
files that no row needs, and a claim left by a killed process marks files that may have to be removed.

A claim is renewed while it is held. A process that pauses for longer than a claim lasts detects this before it adds a
row. If it pauses between its last check and the removal itself, it could remove a file that was stored again meanwhile;
therefore a claim lasts much longer than a removal takes.
"""

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ftlab.backoff import backoff_s
from ftlab.errors import ServiceUnavailableError
from tracking.buckets.buckets import Buckets
from tracking.buckets.storage import blob_key, canonical_prefix
from tracking.store import Store, Transaction
from tracking.store.ids import new_id
from tracking.store.records import DatasetRecord

CLAIM_TTL_S = 60.0
RENEWALS_PER_TTL = 4
"""How often a claim is renewed while it lasts."""
MAX_WAIT_S = 600.0
"""How long to wait for a process that stores the same content, possibly over a network."""
FIRST_WAIT_S = 0.01
LONGEST_WAIT_S = 0.5

logger = logging.getLogger(__name__)


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Claim:
    """The right to store and remove the files of one content."""

    bucket: str
    sha256: str
    holder: str
    is_released: bool = False

    def release(self, tx: Transaction) -> None:
        """Release the claim in the transaction that adds a row for the content.

        Raise `ServiceUnavailableError` when the claim was lost: the transaction must not commit then.
        """
        if not tx.claims.release(self.bucket, self.sha256, self.holder):
            raise ServiceUnavailableError("Storing the files took too long. Try again.", "bucket_unavailable")
        self.is_released = True


class Contents:
    """Stores and removes the files of datasets. Every method blocks on the store and on the bucket."""

    def __init__(
        self,
        store: Store,
        buckets: Buckets,
        now: Callable[[], datetime] = utc_now,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._store = store
        self._buckets = buckets
        self._now = now
        self._sleep = sleep

    @contextmanager
    def claimed(self, bucket: str, sha256: str) -> Iterator[Claim]:
        """Hold the claim of a content. Unless the block releases it, files that no row needs are removed at the end.

        Raises `ServiceUnavailableError` when another process holds the claim for too long.
        """
        claim = Claim(bucket, sha256, new_id("claim"))
        self._wait_for(claim)
        with self._held(claim):
            yield claim

    def put(self, claim: Claim, key: str, file: Path) -> None:
        """Store a file of the claimed content, unless it is there already."""
        self._buckets.storage(claim.bucket).put(key, file)

    def claim_removed(self, tx: Transaction, dataset: DatasetRecord) -> Claim | None:
        """Claim the files of a dataset whose row this transaction has removed from the bucket.

        Pass the claim to `remove_unneeded` after the commit. `None` means that the current holder of the claim removes
        the files. Whether they are still needed can only be decided after the commit: until then, another transaction
        that removes the last other row still sees this one.
        """
        claim = Claim(dataset.bucket, dataset.sha256, new_id("claim"))
        is_taken = tx.claims.take(claim.bucket, claim.sha256, claim.holder, ttl_s=CLAIM_TTL_S, now=self._now())
        return claim if is_taken else None

    def remove_unneeded(self, claim: Claim) -> None:
        """Remove the files of a claimed content that no row needs, and release the claim."""
        with self._held(claim):
            pass

    def sweep(self) -> None:
        """Remove unneeded files that killed processes left behind."""
        with self._store.read() as tx:
            expired = tx.claims.expired(now=self._now())
        for old in expired:
            claim = Claim(old.bucket, old.sha256, new_id("claim"))
            if old.bucket in self._buckets.names and self._take(claim):
                self.remove_unneeded(claim)

    def _wait_for(self, claim: Claim) -> None:
        waited_s = 0.0
        for num_tries in itertools.count(1):
            if self._take(claim):
                return
            if waited_s > MAX_WAIT_S:
                raise ServiceUnavailableError(
                    "Another request has been storing the same file for too long; try again later.",
                    "bucket_unavailable",
                )
            pause_s = backoff_s(num_tries, first_s=FIRST_WAIT_S, longest_s=LONGEST_WAIT_S)
            self._sleep(pause_s)
            waited_s += pause_s

    def _take(self, claim: Claim) -> bool:
        with self._store.begin() as tx:
            return tx.claims.take(claim.bucket, claim.sha256, claim.holder, ttl_s=CLAIM_TTL_S, now=self._now())

    @contextmanager
    def _held(self, claim: Claim) -> Iterator[None]:
        stop = threading.Event()
        renewing = threading.Thread(target=self._renew, args=(claim, stop), daemon=True, name="content-claim")
        renewing.start()
        try:
            yield
        finally:
            try:
                if not claim.is_released:
                    self._remove_unneeded(claim)
            except (OSError, ServiceUnavailableError):
                # The claim expires; a sweep removes the files once the bucket, or the database, is back.
                logger.warning("Unneeded files in bucket %s could not be removed yet", claim.bucket)
            finally:
                stop.set()
                renewing.join()

    def _renew(self, claim: Claim, stop: threading.Event) -> None:
        while not stop.wait(CLAIM_TTL_S / RENEWALS_PER_TTL):
            if claim.is_released:
                return
            try:
                with self._store.begin() as tx:
                    tx.claims.renew(claim.bucket, claim.sha256, claim.holder, ttl_s=CLAIM_TTL_S, now=self._now())
            except ServiceUnavailableError:
                # The database is away; the claim lasts for some more tries.
                continue

    def _remove_unneeded(self, claim: Claim) -> None:
        seen: frozenset[str] | None = None
        while True:
            with self._store.begin() as tx:
                if not tx.claims.renew(claim.bucket, claim.sha256, claim.holder, ttl_s=CLAIM_TTL_S, now=self._now()):
                    return
                needed = tx.datasets.canonicals(claim.bucket, claim.sha256)
                if needed == seen:
                    claim.release(tx)
                    return
            self._remove_all_but(needed, claim)
            # Again: a process that removed a row meanwhile found the claim taken and left the files to its holder.
            seen = needed

    def _remove_all_but(self, needed: frozenset[str], claim: Claim) -> None:
        storage = self._buckets.storage(claim.bucket)
        keys = [key for key in storage.keys(canonical_prefix(claim.sha256)) if key not in needed]
        for key in keys if needed else [*keys, blob_key(claim.sha256)]:
            storage.remove(key)
            self._buckets.forget(claim.bucket, key)
