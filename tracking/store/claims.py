"""Claims of content: exclusive rights to store and remove the files of one content in one bucket."""

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, delete, or_, select, update

from tracking.store.database import insert_into
from tracking.store.records import ContentClaim
from tracking.store.rows import columns_of, content_claims

COLUMNS = columns_of(content_claims, ContentClaim)

ContentClaims = list[ContentClaim]


class ClaimRepository:
    """An expired claim stays until it is taken again: it marks files that may have to be removed."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def take(self, bucket: str, sha256: str, holder: str, *, ttl_s: float, now: datetime) -> bool:
        """Claim content; False while another holder's claim has not expired."""
        values = {"bucket": bucket, "sha256": sha256, "holder": holder, "expires_at": now + timedelta(seconds=ttl_s)}
        insert = insert_into(self._connection, content_claims).values(**values)
        is_free = or_(content_claims.c.holder == holder, content_claims.c.expires_at <= now)
        taken = self._connection.execute(
            insert.on_conflict_do_update(
                index_elements=[content_claims.c.bucket, content_claims.c.sha256],
                set_={"holder": holder, "expires_at": insert.excluded.expires_at},
                where=is_free,
            ).returning(content_claims.c.holder)
        )
        return taken.one_or_none() is not None

    def renew(self, bucket: str, sha256: str, holder: str, *, ttl_s: float, now: datetime) -> bool:
        """Extend a claim to `ttl_s` from now; False when another holder has taken it."""
        renewed = self._connection.execute(
            update(content_claims)
            .where(*_held(bucket, sha256, holder))
            .values(expires_at=now + timedelta(seconds=ttl_s))
        )
        return renewed.rowcount == 1

    def release(self, bucket: str, sha256: str, holder: str) -> bool:
        """Release a claim; False when another holder has taken it."""
        return self._connection.execute(delete(content_claims).where(*_held(bucket, sha256, holder))).rowcount == 1

    def expired(self, *, now: datetime) -> ContentClaims:
        """Claims that were neither renewed nor released in time."""
        statement = select(*COLUMNS).where(content_claims.c.expires_at <= now)
        return [ContentClaim(*row) for row in self._connection.execute(statement)]


def _held(bucket: str, sha256: str, holder: str) -> tuple[ColumnElement[bool], ...]:
    return (
        content_claims.c.bucket == bucket,
        content_claims.c.sha256 == sha256,
        content_claims.c.holder == holder,
    )
