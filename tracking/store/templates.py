"""Templates that owners saved."""

from datetime import datetime

from sqlalchemy import ColumnElement, Connection, delete, func, select

from tracking.store.database import insert_into
from tracking.store.records import TemplateRecord
from tracking.store.rows import columns_of
from tracking.store.template_rows import templates

COLUMNS = columns_of(templates, TemplateRecord)

TemplateRecords = list[TemplateRecord]


class TemplateRepository:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def save(self, owner: str, name: str, text: str, *, now: datetime) -> TemplateRecord:
        """Add the template, or replace the text of the one with this name."""
        values = {"text": text, "updated_at": now}
        insert = insert_into(self._connection, templates).values(owner=owner, name=name, **values)
        keys = [templates.c.owner, templates.c.name]
        self._connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=values))
        return TemplateRecord(owner, name, text, now)

    def find(self, name: str, *, owner: str) -> TemplateRecord | None:
        row = self._connection.execute(select(*COLUMNS).where(*_is(name, owner))).one_or_none()
        return None if row is None else TemplateRecord(*row)

    def list(self, *, owner: str) -> TemplateRecords:
        """All templates of the owner, by name."""
        mine = select(*COLUMNS).where(templates.c.owner == owner)
        records = [TemplateRecord(*row) for row in self._connection.execute(mine)]
        return sorted(records, key=lambda record: record.name)  # databases sort '-' and '_' differently

    def count(self, *, owner: str) -> int:
        mine = select(func.count()).select_from(templates).where(templates.c.owner == owner)
        return int(self._connection.execute(mine).scalar_one())

    def delete(self, name: str, *, owner: str) -> bool:
        """Whether this owner had such a template."""
        return self._connection.execute(delete(templates).where(*_is(name, owner))).rowcount > 0


def _is(name: str, owner: str) -> tuple[ColumnElement[bool], ...]:
    return templates.c.owner == owner, templates.c.name == name
