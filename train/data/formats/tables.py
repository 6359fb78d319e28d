"""Rows of CSV and TSV files, each a dict from column name to text."""

import codecs
import csv
from collections import Counter
from collections.abc import Iterator
from typing import Any

from train.data.formats import jsonl
from train.data.formats.jsonl import ByteStream, Parsed, rest_of_line, too_long
from train.data.rows.errors import DatasetInvalidError, RowError, Rule, shown_name


def parse_csv(file: ByteStream) -> Iterator[Parsed]:
    """Rows of a file with commas, or with semicolons where the header has no comma; quotes as in RFC 4180.

    Rows are numbered by the line on which they begin. An empty cell is `None`. White space around a column's name does
    not count, and a column without a name, such as an index that pandas wrote, is `(column 1)`. Raise
    `DatasetInvalidError` when the header cannot be used.
    """
    lines = _Lines(file)
    header = lines.peek()
    return _rows(lines, ";" if ";" in header and "," not in header else ",")


def parse_tsv(file: ByteStream) -> Iterator[Parsed]:
    """Rows of a file with tabs, otherwise like `parse_csv`."""
    return _rows(_Lines(file), "\t")


def _rows(lines: "_Lines", delimiter: str) -> Iterator[Parsed]:
    # No row is longer than this, so no cell is either.
    csv.field_size_limit(jsonl.MAX_ROW_BYTES)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    names = _header(reader, lines)
    while True:
        lines.begin_row()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problem = _broken(error, lines)
        except RowError as error:
            problem = error
        else:
            if cells:
                yield lines.row_line, lines.undecodable or _row(names, cells, lines, delimiter)
            continue
        yield lines.row_line, problem
        if problem.rule not in (Rule.BROKEN_CSV, Rule.ROW_TOO_LONG) or lines.is_inside_quotes:
            return


def _row(names: list[str], cells: list[str], lines: "_Lines", delimiter: str) -> dict[str, str | None] | RowError:
    if any(_is_quoted_after_space(cell, lines, delimiter) for cell in cells):
        return RowError(
            Rule.BROKEN_CSV,
            "A cell has white space before its first quote, so its quotes would be part of the text; remove the space.",
        )
    if len(cells) != len(names):
        return RowError(Rule.WRONG_COLUMNS, f"The row has {len(cells)} columns, the header has {len(names)}.")
    return {name: cell or None for name, cell in zip(names, cells, strict=True)}


def _is_quoted_after_space(cell: str, lines: "_Lines", delimiter: str) -> bool:
    """Whether a cell of the current row was meant to be quoted, and is read as it is written: `a, "b"`.

    A cell that really begins with a space and a quote is quoted as a whole, with its quotes written twice.
    """
    if not cell[:1].isspace() or not cell.lstrip().startswith('"'):
        return False
    text = lines.row_text
    return text.startswith(cell) or delimiter + cell in text


def _header(reader: Any, lines: "_Lines") -> list[str]:
    try:
        header: list[str] = next((cells for cells in reader if cells), [])
    except csv.Error:
        raise DatasetInvalidError(f"The header in line 1 is broken. [{Rule.BROKEN_CSV}]") from None
    except RowError as error:
        raise _broken_header(error) from None
    if lines.undecodable is not None:
        raise _broken_header(lines.undecodable)
    names = [name.strip() or f"(column {number})" for number, name in enumerate(header, 1)]
    for name, count in Counter(names).items():
        if count > 1:
            raise DatasetInvalidError(
                f"Two columns of the header have the same name, {shown_name(name)}; rename or remove one. "
                f"[{Rule.WRONG_COLUMNS}]"
            )
    return names


def _broken_header(error: RowError) -> DatasetInvalidError:
    return DatasetInvalidError(f"line 1: {error.message} [{error.rule}]")


def _broken(error: csv.Error, lines: "_Lines") -> RowError:
    if "end of data" in str(error):
        return RowError(Rule.CUT_OFF, "The file ends inside a quoted cell, which begins in this row.")
    problem = f"The quotes are broken in line {lines.number}: a quote inside a cell is written twice."
    if "new-line" in str(error):
        problem = f"Line {lines.number} holds a carriage return outside quotes."
    return RowError(Rule.BROKEN_CSV, problem + lines.what_is_lost)


class _Lines:
    """The file's lines as text, for the CSV reader."""

    def __init__(self, file: ByteStream) -> None:
        self.number = 0
        self.row_line = 1
        self.undecodable: RowError | None = None
        """The first line of the row that is not UTF-8. The row is still read to its end: that line may leave a
        quote open, and what follows inside the quotes would be taken for a row."""
        self._file = file
        self._num_row_bytes = 0
        self._num_row_quotes = 0
        self._first: str | RowError | None = None
        self._row_lines: list[str] = []

    @property
    def row_text(self) -> str:
        """The row as it is written."""
        return "".join(self._row_lines)

    @property
    def is_inside_quotes(self) -> bool:
        """Whether the row continues on the next line: its number of quotes is odd."""
        return self._num_row_quotes % 2 == 1

    @property
    def what_is_lost(self) -> str:
        """A sentence for a row after which the start of the next row is unknown."""
        return " It leaves a quote open, so what follows is not read." if self.is_inside_quotes else ""

    def peek(self) -> str:
        """The first line, without consuming it; empty where it cannot be read."""
        try:
            self._first = self._read()
        except RowError as error:
            self._first = error
        except StopIteration:
            pass
        return self._first if isinstance(self._first, str) else ""

    def begin_row(self) -> None:
        self.row_line = self.number + 1
        self.undecodable = None
        self._row_lines = []
        self._num_row_bytes = self._num_row_quotes = 0

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        first, self._first = self._first, None
        if isinstance(first, RowError):
            raise first
        line = self._read() if first is None else first
        self._row_lines.append(line)
        return line

    def _read(self) -> str:
        line = self._file.readline(jsonl.MAX_ROW_BYTES)
        if not line:
            raise StopIteration
        self.number += 1
        self._num_row_bytes += len(line)
        self._num_row_quotes += line.count(b'"')
        if self._num_row_bytes > jsonl.MAX_ROW_BYTES or len(line) == jsonl.MAX_ROW_BYTES:
            if not line.endswith(b"\n"):
                self._num_row_quotes += sum(piece.count(b'"') for piece in rest_of_line(self._file))
            raise RowError(Rule.ROW_TOO_LONG, too_long("row").message + self.what_is_lost)
        if self.number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        try:
            return line.decode("utf-8")
        except UnicodeDecodeError as error:
            problem = f"Line {self.number} is not valid UTF-8 (byte {error.start + 1})."
            self.undecodable = self.undecodable or RowError(Rule.INVALID_UTF8, problem)
            return line.decode("utf-8", "surrogateescape")
