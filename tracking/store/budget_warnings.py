"""Which warnings about budgets were sent: one for each owner, month, percentage and amount of the budget."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Column, Connection, Integer, String, Table, exists, select

from tracking.store.column_types import DecimalText, UtcDateTime
from tracking.store.database import insert_into
from tracking.store.rows import metadata

budget_warnings = Table(
    "budget_warnings",
    metadata,
    Column("owner", String, primary_key=True),
    # The first moment of the month.
    Column("month", UtcDateTime, primary_key=True),
    Column("percent", Integer, primary_key=True, autoincrement=False),
    # A budget that is changed warns again.
    Column("budget", DecimalText, primary_key=True),
)


class BudgetWarningRepository:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def has(self, owner: str, month: datetime, percent: int, budget: Decimal) -> bool:
        """Whether the warning was sent."""
        values = _values(owner, month, percent, budget)
        conditions = [budget_warnings.c[name] == value for name, value in values.items()]
        return bool(self._connection.execute(select(exists().where(*conditions))).scalar_one())

    def add(self, owner: str, month: datetime, percent: int, budget: Decimal) -> bool:
        """Note that the warning is sent. Returns False when it was sent before."""
        insert = insert_into(self._connection, budget_warnings).values(_values(owner, month, percent, budget))
        return self._connection.execute(insert.on_conflict_do_nothing()).rowcount == 1


def _values(owner: str, month: datetime, percent: int, budget: Decimal) -> dict[str, Any]:
    return {"owner": owner, "month": month, "percent": percent, "budget": budget}
