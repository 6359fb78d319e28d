"""Conversion of Python values to the Arrow columns of a canonical file, and back, a batch at a time."""

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

RARE_FIELDS = ("weight", "tool_calls", "name", "tool_call_id", "reasoning_content")
"""Fields that most messages do not have."""
_JSON_FIELDS = ("tool_calls",)
MESSAGE_CHARS = 16
"""Characters that a message counts for besides its content: its role, and its entries in the columns."""


class Column(Protocol):
    """Buffered values of one column."""

    @property
    def type(self) -> "pa.DataType": ...

    def add(self, value: Any) -> int:
        """Buffer one row's value; return the number of characters buffered in the column."""

    def take(self) -> "pa.Array":
        """All values added since the last call."""


def column_of(type_name: str) -> Column:
    """A column for `messages`, `json`, `string` or `bool`."""
    if type_name == "messages":
        return _Messages()
    return _Json() if type_name == "json" else _Plain(type_name)


def values_of(array: "pa.Array", type_name: str) -> list[Any]:
    """The Python values of a column that was written as `type_name`."""
    if type_name == "messages":
        return _lists_of_messages(array)
    values = _to_list(array)
    if type_name == "json":
        return [None if value is None else json.loads(value) for value in values]
    return values


class _Plain:
    def __init__(self, type_name: str) -> None:
        import pyarrow as pa

        self.type = pa.type_for_alias(type_name)
        self._values: list[Any] = []
        self._num_chars = 0

    def add(self, value: Any) -> int:
        self._values.append(value)
        if isinstance(value, str):
            self._num_chars += len(value)
        return self._num_chars

    def take(self) -> "pa.Array":
        import pyarrow as pa

        array = pa.array(self._values, self.type)
        self._values = []
        self._num_chars = 0
        return array


class _Json(_Plain):
    def __init__(self) -> None:
        super().__init__("string")

    def add(self, value: Any) -> int:
        return super().add(None if value is None else _dump(value))


class _Messages:
    """Lists of messages, kept as flat columns: `pyarrow` is slow with nested Python values."""

    def __init__(self) -> None:
        import pyarrow as pa

        fields = {"role": pa.string(), "content": pa.string(), "weight": pa.int8()}
        fields |= {name: pa.string() for name in RARE_FIELDS if name not in fields}
        self._fields = [pa.field(name, type) for name, type in fields.items()]
        self.type = pa.list_(pa.struct(self._fields))
        self._clear()

    def add(self, value: list[dict[str, Any]]) -> int:
        roles, contents = self._roles, self._contents
        for message in value:
            content = message["content"]
            if len(message) > 2:
                self._add_rare(len(roles), message)
            roles.append(message["role"])
            contents.append(content)
            self._num_chars += len(content) + MESSAGE_CHARS
        self._offsets.append(len(roles))
        return self._num_chars

    def take(self) -> "pa.Array":
        import pyarrow as pa

        columns = [self._roles, self._contents, *(self._rare_column(name) for name in RARE_FIELDS)]
        arrays = [pa.array(values, field.type) for values, field in zip(columns, self._fields, strict=True)]
        messages = pa.StructArray.from_arrays(arrays, fields=self._fields)
        array = pa.ListArray.from_arrays(pa.array(self._offsets, pa.int32()), messages, type=self.type)
        self._clear()
        return array

    def _clear(self) -> None:
        self._roles: list[str] = []
        self._contents: list[str] = []
        self._offsets: list[int] = [0]
        self._rare: dict[str, dict[int, Any]] = {name: {} for name in RARE_FIELDS}
        self._num_chars = 0

    def _add_rare(self, position: int, message: dict[str, Any]) -> None:
        for name in RARE_FIELDS:
            value = message.get(name)
            if value is None:
                continue
            if name in _JSON_FIELDS:
                value = _dump(value)
            if isinstance(value, str):
                self._num_chars += len(value)
            self._rare[name][position] = value

    def _rare_column(self, name: str) -> list[Any]:
        values: list[Any] = [None] * len(self._roles)
        for position, value in self._rare[name].items():
            values[position] = value
        return values


def _lists_of_messages(array: "pa.Array") -> list[list[dict[str, Any]]]:
    structs = array.flatten()
    roles, contents = _to_list(structs.field("role")), _to_list(structs.field("content"))
    messages: list[dict[str, Any]] = [
        {"role": role, "content": content} for role, content in zip(roles, contents, strict=True)
    ]
    for name in RARE_FIELDS:
        column = structs.field(name)
        if column.null_count == len(column):
            continue
        for message, value in zip(messages, column.to_pylist(), strict=True):
            if value is not None:
                message[name] = json.loads(value) if name in _JSON_FIELDS else value
    offsets = array.offsets.to_pylist()
    first = offsets[0]
    return [messages[start - first : end - first] for start, end in pairwise(offsets)]


def _to_list(array: "pa.Array") -> list[Any]:
    # Twice as fast as `to_pylist`.
    values: list[Any] = array.to_numpy(zero_copy_only=False).tolist()
    return values


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
