"""The user's mapping of columns, for a file whose shape is not obvious."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from ftlab.errors import InvalidRequestError
from train.data.rows.errors import RowError, Rule
from train.data.shapes.messages import ROLES, MessageReader, OnField
from train.data.shapes.shapes import FORMS, Row, Shape

MAX_ENTRIES = 64
MAX_NAME_CHARS = 200

_MESSAGE_KEYS = ("role", "content")
_ROLE_PREFIX = "role."
_FIELDS = frozenset().union(*(form.fields for form in FORMS.values()))


@dataclass(frozen=True)
class ColumnMapping:
    """The shape of a file, and which of its columns stand for the shape's fields.

    `columns` maps a field to a column: `{"prompt": "question", "completion": "answer"}`. Besides the fields of
    the shapes, `role` and `content` name the keys of a message, and `role.NAME` gives the meaning of a role:
    `{"role": "speaker", "content": "said", "role.Customer": "user"}`. Without `shape`, the shape is detected
    among those that have all the mapped fields.
    """

    shape: Shape | None = None
    columns: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, shape: str | None, columns: object) -> "ColumnMapping":
        """Validate the user's mapping; raise `InvalidRequestError` with code `invalid_mapping`."""
        if shape is not None and shape not in list(Shape):
            raise InvalidRequestError(f"shape must be one of {', '.join(Shape)}.", "invalid_mapping", "shape")
        mapping = cls(Shape(shape) if shape else None, _checked(columns))
        if not mapping.allowed:
            raise _wrong("No shape has all of these fields.")
        return mapping

    @property
    def allowed(self) -> frozenset[Shape]:
        """The shapes that the rows may have."""
        fields = self.renamed.keys()
        shapes = [self.shape] if self.shape else list(Shape)
        return frozenset(shape for shape in shapes if fields <= FORMS[shape].fields)

    def reader(self, *, is_table: bool = False, on_field: OnField | None = None) -> MessageReader:
        roles = {name.removeprefix(_ROLE_PREFIX): role for name, role in self.columns.items() if _is_role(name)}
        role, content = self.columns.get("role"), self.columns.get("content")
        return MessageReader(roles, role, content, is_table=is_table, on_field=on_field)

    def apply(self, row: Row, shape: Shape | None = None) -> Row:
        """The row with its columns renamed.

        Raise `RowError` when a mapped column is missing that `shape` requires, or, without `shape`, any allowed shape.
        """
        renamed = self.renamed
        if not renamed or not isinstance(row, dict):
            return row
        mapped = {name: value for name, value in row.items() if name not in self._used and name not in renamed}
        for name, column in renamed.items():
            if column in row:
                mapped[name] = row[column]
            elif any(name in FORMS[one].required for one in self.allowed & {shape} or self.allowed):
                raise RowError(Rule.MISSING_FIELD, f"The row has no column '{column}', which is mapped to '{name}'.")
        return mapped

    @cached_property
    def renamed(self) -> dict[str, str]:
        """Field of a row -> the column that stands for it."""
        return {name: column for name, column in self.columns.items() if name in _FIELDS}

    @cached_property
    def _used(self) -> frozenset[str]:
        return frozenset(self.renamed.values())


def _checked(columns: object) -> dict[str, str]:
    if columns is None:
        return {}
    if not isinstance(columns, dict) or len(columns) > MAX_ENTRIES:
        raise _wrong(f"It must be an object of at most {MAX_ENTRIES} fields and columns.")
    for name, column in columns.items():
        if not isinstance(column, str) or not 0 < len(column) <= MAX_NAME_CHARS or len(name) > MAX_NAME_CHARS:
            raise _wrong(f"Each column must be a text of 1 to {MAX_NAME_CHARS} characters.")
        if _is_role(name):
            if column not in ROLES:
                raise _wrong(f"'{_ROLE_PREFIX}NAME' must be one of {', '.join(sorted(ROLES))}.")
        elif name not in _FIELDS and name not in _MESSAGE_KEYS:
            known = ", ".join(sorted(_FIELDS | set(_MESSAGE_KEYS)))
            swapped = column in _FIELDS or column in _MESSAGE_KEYS
            hint = f"the field comes first, as {column}=COLUMN" if swapped else f"the fields are {known}"
            raise _wrong(f"It has a field that no shape has; {hint}, and role.NAME for a role.")
    return columns


def _is_role(name: str) -> bool:
    return name.startswith(_ROLE_PREFIX) and len(name) > len(_ROLE_PREFIX)


def _wrong(problem: str) -> InvalidRequestError:
    return InvalidRequestError(f"columns cannot be used: {problem}", "invalid_mapping", "columns")
