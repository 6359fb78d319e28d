"""Check a dataset file row by row and write it in the one form that training reads."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from train.data.formats.json_array import parse_json_array
from train.data.formats.jsonl import Parsed, parse_jsonl
from train.data.formats.parquet import parse_parquet
from train.data.formats.source import FileFormat, compression_of, format_of, open_plain
from train.data.formats.tables import parse_csv, parse_tsv
from train.data.rows.canonical import Kind, write_canonical
from train.data.rows.errors import DatasetInvalidError, RowError, Rule
from train.data.shapes.detect import Detection, Detector
from train.data.shapes.ledger import FieldCount, FieldLedger
from train.data.shapes.mapping import ColumnMapping
from train.data.shapes.messages import MessageReader
from train.data.shapes.refused_fields import refuse_unread
from train.data.shapes.shapes import FORMS, Row, Shape, normalise

OnRow = Callable[[int, Row], object]

MAX_PROBLEMS = 10
"""Maximum number of problems that are described; all are counted."""

_PARSERS = {
    FileFormat.JSONL: parse_jsonl,
    FileFormat.JSON: parse_json_array,
    FileFormat.CSV: parse_csv,
    FileFormat.TSV: parse_tsv,
}
_FORMATS_WITHOUT_LINES = (FileFormat.JSON, FileFormat.PARQUET)
_TABLES = (FileFormat.CSV, FileFormat.TSV, FileFormat.PARQUET)


@dataclass(frozen=True)
class Problem:
    """One row that breaks a rule."""

    place: str
    """`line 3` in JSONL, CSV and TSV, `row 3` in JSON and Parquet."""
    rule: Rule
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message} [{self.rule}]"


@dataclass(frozen=True)
class Conversion:
    """A dataset that was accepted.

    `num_skipped` rows were left out, which only happens with `accept_partial`; `problems` describes the first ten.
    `confidence`, from 0 to 1, is that of the detected shape; it is 1 if the user named the shape. `alternative` is the
    shape that fits second best.
    """

    format: FileFormat
    shape: Shape
    kind: Kind
    num_rows: int
    num_skipped: int = 0
    confidence: float = 1.0
    alternative: Shape | None = None
    problems: tuple[Problem, ...] = ()
    compression: str | None = None
    """Compression of the source: `gzip` or `zstd`."""
    fields: tuple[FieldCount, ...] = ()
    """The fields of the accepted rows, and what each is used as."""


def convert(
    source: Path,
    target: Path,
    filename: str,
    *,
    mapping: ColumnMapping | None = None,
    accept_partial: bool = False,
) -> Conversion:
    """Check `source` and write its rows to `target`, a canonical file.

    `filename` is the name the file came with; it helps to find the format. `target` appears whole and safe on disk, or
    not at all. With `accept_partial`, invalid rows are skipped and counted instead of refused. Raise
    `DatasetInvalidError` naming at most ten problems. Memory stays within a few of the longest rows.
    """
    mapping = mapping or ColumnMapping()
    file = DatasetFile.of(source, filename)
    found = detect(file, mapping)
    if found.shape is None:
        # No row can be read at all; each shape says the same of them.
        raise DatasetInvalidError(_refusal(_read(file, mapping, Shape.MESSAGES, lambda *_: None)))
    kind = FORMS[found.shape].kind
    with write_canonical(target, kind) as out:
        tally = _read(file, mapping, found.shape, out.write)
        if not tally.num_rows or (tally.num_problems and not accept_partial):
            raise DatasetInvalidError(_refusal(tally))
    return Conversion(
        file.format,
        found.shape,
        kind,
        tally.num_rows,
        tally.num_problems,
        found.confidence,
        found.alternative,
        tuple(tally.problems),
        compression_of(source),
        tally.fields.result(),
    )


@dataclass(frozen=True)
class DatasetFile:
    """An uploaded file and its format."""

    path: Path
    format: FileFormat

    @classmethod
    def of(cls, path: Path, filename: str) -> "DatasetFile":
        """Raise `DatasetInvalidError` when the file as a whole is unusable."""
        return cls(path, format_of(path, filename))

    @property
    def unit(self) -> str:
        """The unit that rows are counted in."""
        return "row" if self.format in _FORMATS_WITHOUT_LINES else "line"

    @property
    def is_table(self) -> bool:
        """Whether a cell may hold a list as JSON text."""
        return self.format in _TABLES

    def values(self) -> Iterator[Parsed]:
        """All rows, unchanged, with their numbers; a `RowError` in place of a row that cannot be read."""
        if self.format is FileFormat.PARQUET:
            yield from parse_parquet(self.path)
            return
        number = 0
        with open_plain(self.path) as file:
            try:
                for number, value in _PARSERS[self.format](file):
                    yield number, value
            except RowError as error:
                yield number + 1, error


def detect(file: DatasetFile, mapping: ColumnMapping) -> Detection:
    """The shape that the user named, or the one detected from the first rows; raise `DatasetInvalidError`."""
    if mapping.shape is not None:
        return Detection(mapping.shape, 1.0)
    detector = Detector(mapping.allowed)
    for _, value in file.values():
        try:
            detector.add(mapping.apply(value))
        except RowError:
            continue
        if detector.is_sure:
            break
    return detector.result()


def normal_form(value: Any, shape: Shape, mapping: ColumnMapping, reader: MessageReader) -> Row:
    """The normal row of one of `DatasetFile.values`; raise `RowError` when there is none."""
    if isinstance(value, RowError):
        raise value
    row = mapping.apply(value, shape)
    if mapping.shape is None:
        refuse_unread(row, shape)
    return normalise(row, shape, reader)


class _Tally:
    """The counts of one pass over a file, and its first problems."""

    def __init__(self, unit: str, fields: FieldLedger) -> None:
        self.fields = fields
        self.num_rows = 0
        self.num_problems = 0
        self.problems: list[Problem] = []
        self._unit = unit

    def add_problem(self, number: int, error: RowError) -> None:
        self.num_problems += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(f"{self._unit} {number}", error.rule, error.message))


def _read(file: DatasetFile, mapping: ColumnMapping, shape: Shape, on_row: OnRow) -> _Tally:
    tally = _Tally(file.unit, FieldLedger(shape, mapping))
    reader = mapping.reader(is_table=file.is_table, on_field=tally.fields.on_field_below)
    unseen = {column: name for name, column in mapping.renamed.items()}
    for number, value in file.values():
        if unseen and isinstance(value, dict):
            unseen = {column: name for column, name in unseen.items() if column not in value}
        try:
            row = normal_form(value, shape, mapping, reader)
        except RowError as error:
            tally.fields.skip()
            tally.add_problem(number, error)
            continue
        tally.num_rows += 1
        tally.fields.add(value.items())
        on_row(number, row)
    if tally.num_rows:
        for column, name in unseen.items():
            raise DatasetInvalidError(
                f"No row has the column '{column}', which is mapped to '{name}'. [{Rule.MISSING_FIELD}]"
            )
    return tally


def _refusal(tally: _Tally) -> str:
    if not tally.num_rows and not tally.num_problems:
        return "The file holds no rows."
    problems = "1 problem" if tally.num_problems == 1 else f"{tally.num_problems} problems"
    lines = [f"The dataset has {problems}:", *map(str, tally.problems)]
    if more := tally.num_problems - len(tally.problems):
        lines.append(f"and {more} more.")
    if tally.num_rows:
        rows = "the 1 valid row" if tally.num_rows == 1 else f"the {tally.num_rows} valid rows"
        lines.append(f"To keep {rows} and skip the others, upload again with accept_partial (--accept-partial).")
    return "\n".join(lines)
