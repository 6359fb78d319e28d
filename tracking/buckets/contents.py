"""The same content once in a bucket, and only for as long as a dataset needs it.

Whoever puts or removes the files of a content holds the claim of it first (`tracking.store.claims`). A dataset's row is
added in the transaction that gives the claim back, so a row never refers to files that somebody else removes; and files
are removed only under the claim, after a look that no row needs them. Whoever gives a claim back otherwise removes what
no row needs, and a claim that a killed process left says where to look.

A claim is renewed while it is held. A process that stands still for longer than a claim lasts finds that out before it
adds a row. One that stands still between its last look and the removal itself could remove a file that has come anew:
that is why a claim lasts long compared to a removal.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ftlab.errors import ServiceUnavailableError
from tracking.buckets.buckets import Buckets
from tracking.buckets.storage import blob_key, canonical_prefix
from tracking.store import Store, Transaction
from tracking.store.ids import new_id
from tracking.store.records import DatasetRecord

CLAIM_S = 60.0
RENEWALS = 4
"""How often a claim is renewed while it lasts."""
PATIENCE_S = 600.0
"""How long to wait for somebody who puts the same content, which may have to go over a network."""
FIRST_WAIT_S = 0.01
LONGEST_WAIT_S = 0.5

logger = logging.getLogger(__name__)


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Claim:
    """The right to put and remove the files of one content."""

    bucket: str
    sha256: str
    holder: str
    is_released: bool = False

    def release(self, tx: Transaction) -> None:
        """Give it back in the transaction that adds a row for the content. Raise `ServiceUnavailableError` when it
        has been lost meanwhile: the transaction must not commit then."""
        if not tx.claims.release(self.bucket, self.sha256, self.holder):
            raise ServiceUnavailableError("The files had to wait for too long. Try again.", "bucket_unavailable")
        self.is_released = True


class Contents:
    """Puts and removes the files of datasets. Every method blocks on the store and on the bucket."""

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
        """Hold the claim of a content. Unless it is released inside, files that no row needs are removed at the end.

        Raises `ServiceUnavailableError` when somebody else holds it for too long.
        """
        claim = Claim(bucket, sha256, new_id("claim"))
        self._wait_for(claim)
        with self._settled(claim):
            yield claim

    def put(self, claim: Claim, key: str, file: Path) -> None:
        """Store a file of the content that is claimed, if it is not there yet."""
        self._buckets.storage(claim.bucket).put(key, file)

    def drop(self, tx: Transaction, dataset: DatasetRecord) -> Claim | None:
        """Call after the dataset's row is gone from its bucket, in the same transaction; hand what comes back to
        `settle` after it. `None`: whoever holds the claim looks after the files.

        Whether the files are needed is only seen under the claim: before this transaction has ended, another one that
        removes the last other row still sees this one.
        """
        claim = Claim(dataset.bucket, dataset.sha256, new_id("claim"))
        is_taken = tx.claims.take(claim.bucket, claim.sha256, claim.holder, ttl_s=CLAIM_S, now=self._now())
        return claim if is_taken else None

    def settle(self, claim: Claim) -> None:
        """Remove the files of a claimed content that no row needs, and give the claim back."""
        with self._settled(claim):
            pass

    def sweep(self) -> None:
        """Settle what killed processes have left."""
        with self._store.read() as tx:
            left = tx.claims.expired(now=self._now())
        for old in left:
            claim = Claim(old.bucket, old.sha256, new_id("claim"))
            if old.bucket in self._buckets.names and self._take(claim):
                self.settle(claim)

    def _wait_for(self, claim: Claim) -> None:
        waited_s, pause_s = 0.0, FIRST_WAIT_S
        while not self._take(claim):
            if waited_s > PATIENCE_S:
                raise ServiceUnavailableError(
                    "The same file is being stored by another request for long; try again later.", "bucket_unavailable"
                )
            self._sleep(pause_s)
            waited_s += pause_s
            pause_s = min(LONGEST_WAIT_S, pause_s * 2)

    def _take(self, claim: Claim) -> bool:
        with self._store.begin() as tx:
            return tx.claims.take(claim.bucket, claim.sha256, claim.holder, ttl_s=CLAIM_S, now=self._now())

    @contextmanager
    def _settled(self, claim: Claim) -> Iterator[None]:
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
                # The claim stays and expires: a sweep does the rest once the bucket, or the database, is back.
                logger.warning("Files in bucket %s that nobody needs could not be removed yet", claim.bucket)
            finally:
                stop.set()
                renewing.join()

    def _renew(self, claim: Claim, stop: threading.Event) -> None:
        while not stop.wait(CLAIM_S / RENEWALS):
            if claim.is_released:
                return
            try:
                with self._store.begin() as tx:
                    tx.claims.renew(claim.bucket, claim.sha256, claim.holder, ttl_s=CLAIM_S, now=self._now())
            except ServiceUnavailableError:
                # The database is away: there is time for some more tries.
                continue

    def _remove_unneeded(self, claim: Claim) -> None:
        seen: frozenset[str] | None = None
        while True:
            with self._store.begin() as tx:
                if not tx.claims.renew(claim.bucket, claim.sha256, claim.holder, ttl_s=CLAIM_S, now=self._now()):
                    return
                needed = tx.datasets.canonicals(claim.bucket, claim.sha256)
                if needed == seen:
                    claim.release(tx)
                    return
            self._remove_all_but(needed, claim)
            # Again: whoever has removed a row meanwhile found the claim taken, and left the files to its holder.
            seen = needed

    def _remove_all_but(self, needed: frozenset[str], claim: Claim) -> None:
        storage = self._buckets.storage(claim.bucket)
        keys = [key for key in storage.keys(canonical_prefix(claim.sha256)) if key not in needed]
        for key in keys if needed else [*keys, blob_key(claim.sha256)]:
            storage.remove(key)
            self._buckets.forget(claim.bucket, key)
