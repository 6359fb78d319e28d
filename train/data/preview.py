"""The first rows of an uploaded file, before and after normalisation."""

import math
from dataclasses import dataclass
from itertools import islice
from typing import Any

from train.data.convert import DatasetFile, normal_form
from train.data.rows.errors import RowError
from train.data.shapes.mapping import ColumnMapping
from train.data.shapes.shapes import Row, Shape

MAX_ROW_CHARS = 20_000
"""Characters of a row that are shown; longer texts are cut, and lists and objects end early."""
MAX_TEXT_CHARS = 2000
NUMBER_CHARS = 8
"""Characters that a number counts for."""
MAX_LEVELS = 16
_CUT = "…"


@dataclass(frozen=True)
class PreviewRow:
    """`line` is the number of the line, in JSON and Parquet of the row.

    `raw` is the row as read from the file, `None` where it cannot be read. Either `row` is its normal form, or
    `problem` says why it has none.
    """

    line: int
    raw: Any
    row: Row | None
    problem: str | None


def preview(file: DatasetFile, shape: Shape, mapping: ColumnMapping, num_rows: int) -> list[PreviewRow]:
    """The first `num_rows` rows of a file whose shape is known, shortened for people to look at."""
    reader = mapping.reader(is_table=file.is_table)
    found: list[PreviewRow] = []
    for line, value in islice(file.values(), num_rows):
        raw = None if isinstance(value, RowError) else _Shortening().of(value)
        try:
            normal = normal_form(value, shape, mapping, reader)
            normal.pop("is_joined", None)  # about how it is rendered, and nothing that the uploader wrote
            row = _Shortening().of(normal)
        except RowError as error:
            found.append(PreviewRow(line, raw, None, f"{error.message} [{error.rule}]"))
        else:
            found.append(PreviewRow(line, raw, row, None))
    return found


class _Shortening:
    """Copies one value into JSON of limited length."""

    def __init__(self) -> None:
        self._num_chars_left = MAX_ROW_CHARS

    def of(self, value: Any, levels: int = MAX_LEVELS) -> Any:
        if isinstance(value, dict | list | tuple):
            return self._container(value, levels)
        if isinstance(value, float) and not math.isfinite(value):
            return str(value)
        if value is None or isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 2**63):
            self._num_chars_left -= NUMBER_CHARS
            return value
        return self._text(value if isinstance(value, str) else repr(value)[: MAX_TEXT_CHARS + 1])

    def _container(self, value: Any, levels: int) -> Any:
        if not levels or self._num_chars_left <= 0:
            return _CUT
        if isinstance(value, dict):
            copy: dict[str, Any] = {}
            for key, item in value.items():
                if self._num_chars_left <= 0:
                    break
                name = self._text(str(key))
                copy[name] = self.of(item, levels - 1)
            return copy
        items: list[Any] = []
        for item in value:
            if self._num_chars_left <= 0:
                return [*items, _CUT]
            items.append(self.of(item, levels - 1))
        return items

    def _text(self, text: str) -> str:
        limit = max(0, min(MAX_TEXT_CHARS, self._num_chars_left))
        self._num_chars_left -= min(len(text), limit) + 1
        return text if len(text) <= limit else text[:limit] + _CUT
