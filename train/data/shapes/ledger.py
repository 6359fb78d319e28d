"""The fields of a dataset's rows: what each is used as, and in how many rows it stands."""

from collections.abc import Iterable
from dataclasses import dataclass

from train.data.shapes.mapping import ColumnMapping
from train.data.shapes.shapes import FORMS, Shape

MAX_FIELDS = 100
"""Different names that are counted each on their own."""
MAX_NAME_CHARS = 100
OTHER_FIELDS = "(other fields)"
"""Entry for the rows that have fields beyond the first `MAX_FIELDS`."""
IN_MESSAGES = "messages[]."
"""Prefix of a field that messages have."""


@dataclass
class FieldCount:
    """`used_as` is the field of the shape that it is read as, `None` where it is not used."""

    name: str
    used_as: str | None
    num_rows: int = 0


class FieldLedger:
    """Counts the fields of the rows that are accepted. A field that is null or an empty text does not stand in a row.

    A field of messages that only some of them use, as `name` of tools, has two entries.
    """

    def __init__(self, shape: Shape, mapping: ColumnMapping) -> None:
        renamed = mapping.renamed
        plain = FORMS[shape].fields - renamed.keys()
        self._uses = {name: name for name in plain} | {column: name for name, column in renamed.items()}
        self._counts: dict[tuple[str, bool], FieldCount] = {}
        self._in_messages: set[tuple[str, bool]] = set()

    def on_message_field(self, name: str, is_used: bool) -> None:
        """Take a field of a message of the next row."""
        self._in_messages.add((name, is_used))

    def add(self, row: Iterable[tuple[str, object]]) -> None:
        """Count the fields of an accepted row, as they are in the file, and those of its messages."""
        has_others = False
        for name, value in row:
            if value is not None and value != "":
                has_others |= not self._count(name, self._uses.get(name))
        for name, is_used in self._in_messages:
            where = name if "." in name else IN_MESSAGES + name
            has_others |= not self._count(where, name if is_used else None)
        self.skip()
        if has_others:
            self._counts.setdefault((OTHER_FIELDS, False), FieldCount(OTHER_FIELDS, None)).num_rows += 1

    def skip(self) -> None:
        """Forget the fields of a row that is left out."""
        self._in_messages.clear()

    def result(self) -> tuple[FieldCount, ...]:
        """The fields that are used, then the others, each in the order of their first appearance."""
        return tuple(sorted(self._counts.values(), key=lambda count: count.used_as is None))

    def _count(self, name: str, used_as: str | None) -> bool:
        name = "".join(char if char.isprintable() else "?" for char in name[:MAX_NAME_CHARS])
        key = (name, used_as is not None)
        found = self._counts.get(key)
        if found is None:
            # A field that is used has its entry in any case.
            if used_as is None and len(self._counts) >= MAX_FIELDS:
                return False
            found = self._counts[key] = FieldCount(name, used_as)
        found.num_rows += 1
        return True
