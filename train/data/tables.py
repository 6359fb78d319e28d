"""Rows of CSV and TSV files: a dict of texts for each, by the names in the header."""

import codecs
import csv
from collections.abc import Iterator
from typing import Any

from train.data import parse
from train.data.errors import DatasetInvalidError
from train.data.parse import ByteStream, Parsed, skip_line, too_long
from train.data.rules import RowError, Rule


def parse_csv(file: ByteStream) -> Iterator[Parsed]:
    """Rows of a file with commas, or with semicolons where the header has no comma; quotes as in RFC 4180.

    Rows are numbered by the line on which they begin. An empty cell is `None`. Raise `DatasetInvalidError`
    when the header cannot be used.
    """
    lines = _Lines(file)
    header = lines.peek()
    return _rows(lines, ";" if ";" in header and "," not in header else ",")


def parse_tsv(file: ByteStream) -> Iterator[Parsed]:
    """As `parse_csv`, with tabs."""
    return _rows(_Lines(file), "\t")


def _rows(lines: "_Lines", delimiter: str) -> Iterator[Parsed]:
    # One row is never longer than this, so one cell is not either.
    csv.field_size_limit(parse.MAX_ROW_BYTES)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    names = _header(reader)
    while True:
        lines.begin_row()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield lines.row_line, _broken(error, lines)
            continue
        except RowError as error:
            yield lines.row_line, error
            if not lines.can_go_on_after(error):
                return
            continue
        if not cells:
            continue
        if len(cells) != len(names):
            problem = f"The row has {len(cells)} columns, the header has {len(names)}."
            yield lines.row_line, RowError(Rule.WRONG_COLUMNS, problem)
            continue
        yield lines.row_line, {name: cell or None for name, cell in zip(names, cells, strict=True)}


def _header(reader: Any) -> list[str]:
    try:
        names = [name.strip() for name in next((cells for cells in reader if cells), [])]
    except csv.Error:
        raise DatasetInvalidError(f"The header in line 1 is broken. [{Rule.BROKEN_CSV}]") from None
    except RowError as error:
        raise DatasetInvalidError(f"line 1: {error.message} [{error.rule}]") from None
    if len(set(names)) < len(names):
        raise DatasetInvalidError(f"Two columns of the header have the same name. [{Rule.WRONG_COLUMNS}]")
    return names


def _broken(error: csv.Error, lines: "_Lines") -> RowError:
    if "end of data" in str(error):
        return RowError(Rule.CUT_OFF, "The file ends inside a quoted cell, which begins in this row.")
    if "new-line" in str(error):
        return RowError(Rule.BROKEN_CSV, f"Line {lines.number} holds a carriage return outside quotes.")
    problem = f"The quotes are broken in line {lines.number}: a quote inside a cell is written twice."
    return RowError(Rule.BROKEN_CSV, problem)


class _Lines:
    """The file's lines as text, for the CSV reader."""

    def __init__(self, file: ByteStream) -> None:
        self.number = 0
        self.row_line = 1
        self._file = file
        self._num_row_bytes = 0
        self._first: str | RowError | None = None

    def can_go_on_after(self, error: RowError) -> bool:
        """Whether the next line is a new row: not inside quotes, and not where the file itself is broken."""
        if error.rule is Rule.ROW_TOO_LONG:
            return self.number == self.row_line
        return error.rule is Rule.INVALID_UTF8

    def peek(self) -> str:
        """The first line, which stays to be read; empty where it cannot be."""
        try:
            self._first = self._read()
        except RowError as error:
            self._first = error
        except StopIteration:
            pass
        return self._first if isinstance(self._first, str) else ""

    def begin_row(self) -> None:
        self.row_line = self.number + 1
        self._num_row_bytes = 0

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        first, self._first = self._first, None
        if isinstance(first, RowError):
            raise first
        return self._read() if first is None else first

    def _read(self) -> str:
        line = self._file.readline(parse.MAX_ROW_BYTES)
        if not line:
            raise StopIteration
        self.number += 1
        self._num_row_bytes += len(line)
        if self._num_row_bytes > parse.MAX_ROW_BYTES or len(line) == parse.MAX_ROW_BYTES:
            if not line.endswith(b"\n"):
                skip_line(self._file)
            raise too_long("row")
        if self.number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        try:
            return line.decode("utf-8")
        except UnicodeDecodeError as error:
            problem = f"Line {self.number} is not valid UTF-8 (byte {error.start + 1})."
            raise RowError(Rule.INVALID_UTF8, problem) from None
