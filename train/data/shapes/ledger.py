"""The fields of a dataset's rows: what each becomes, and how many rows have it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from train.data.shapes.mapping import ColumnMapping
from train.data.shapes.shapes import FORMS, Shape

MAX_FIELDS = 100
"""Different names that are counted each on their own."""
MAX_NAME_CHARS = 100
OTHER_FIELDS = "(other fields)"
"""Entry for the rows that have fields beyond the first `MAX_FIELDS`."""
NO_NAME = "(no name)"

_BECOMES = {"conversations": "messages", "functions": "tools", "system": "system message"}
_BECOMES_IN: Mapping[Shape, dict[str, str]] = {
    Shape.ALPACA: {
        "instruction": "user message",
        "input": "user message",
        "output": "assistant message",
        "history": "messages",
    },
    Shape.OPENAI_DPO: {"input": "prompt", "preferred_output": "chosen", "non_preferred_output": "rejected"},
}
"""What a field becomes in the trained rows; any other field that is used keeps its name."""


@dataclass(frozen=True)
class FieldCount:
    """`used_as` says what the field becomes in the trained rows, `None` where it is not used."""

    name: str
    used_as: str | None
    num_rows: int = 0


@dataclass
class _Tally:
    num_rows: int = 0
    last_row: int = 0


class FieldLedger:
    """Counts the fields of accepted rows under their names in the file. Null and empty texts do not count.

    A field of messages that only some of them use, such as `name` of tools, has two entries.
    """

    def __init__(self, shape: Shape, mapping: ColumnMapping) -> None:
        self._columns = mapping.renamed
        plain = FORMS[shape].fields - self._columns.keys()
        becomes = _BECOMES | _BECOMES_IN.get(shape, {})
        uses = {name: name for name in plain} | {column: name for name, column in self._columns.items()}
        self._uses = {name: becomes.get(field, field) for name, field in uses.items()}
        self._tallies: dict[tuple[str, str | None], _Tally] = {}
        self._below: set[tuple[str, str, str | None]] = set()
        self._row = 0

    def on_field_below(self, field: str, path: str, used_as: str | None) -> None:
        """Record a field inside the field `field` of the next row, such as `[].name` in `messages`."""
        self._below.add((field, path, used_as))

    def add(self, row: Iterable[tuple[str, object]]) -> None:
        """Count the fields of an accepted row, as they are in the file, and those recorded below them."""
        self._row += 1
        has_others = False
        for name, used_as in self._fields(row):
            has_others |= not self._count(name, used_as)
        self.skip()
        if has_others:
            self._tallies.setdefault((OTHER_FIELDS, None), _Tally()).num_rows += 1

    def skip(self) -> None:
        """Forget the fields of a row that is left out."""
        self._below.clear()

    def result(self) -> tuple[FieldCount, ...]:
        """The fields that are used, then the others, each in the order of their first appearance."""
        counts = [FieldCount(name, used_as, tally.num_rows) for (name, used_as), tally in self._tallies.items()]
        return tuple(sorted(counts, key=lambda count: count.used_as is None))

    def _fields(self, row: Iterable[tuple[str, object]]) -> Iterator[tuple[str, str | None]]:
        for name, value in row:
            if value is not None and value != "":
                yield name, self._uses.get(name)
        for field, path, used_as in sorted(self._below, key=str):
            yield self._columns.get(field, field) + path, used_as

    def _count(self, name: str, used_as: str | None) -> bool:
        name = "".join(char if char.isprintable() else "?" for char in name[:MAX_NAME_CHARS])
        key = (name if name and not name.isspace() else NO_NAME, used_as)
        tally = self._tallies.get(key)
        if tally is None:
            # A field that is used has its entry in any case.
            if used_as is None and len(self._tallies) >= MAX_FIELDS:
                return False
            tally = self._tallies[key] = _Tally()
        # Two long names of one row may begin alike.
        tally.num_rows += tally.last_row != self._row
        tally.last_row = self._row
        return True
