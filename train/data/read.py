"""Check a dataset file row by row and write it down in the one shape that training reads."""

import codecs
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal

from train.data.errors import DatasetInvalidError
from train.data.parse import Parsed, parse_json, parse_jsonl
from train.data.shapes import Row, RowError, Rule, Shape, detect_shape, normalise

FileFormat = Literal["jsonl", "json"]
OnRow = Callable[[int, Row], object]

MAX_PROBLEMS = 10
"""Problems that are described; all are counted."""
MAX_JSON_BYTES = 128 * 1024**2
"""A JSON array is held in memory as text, a JSONL file is not."""

_SUFFIXES: dict[str, FileFormat] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json"}
_SHAPES = "'messages', or 'conversations', or 'instruction' and 'output', or 'prompt' and 'completion'"


@dataclass(frozen=True)
class Problem:
    """One row that breaks a rule."""

    place: str
    """`line 3` in JSONL, `row 3` in JSON."""
    rule: Rule
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message} [{self.rule}]"


@dataclass(frozen=True)
class ReadReport:
    """What a file holds. `num_rows` counts the good rows, `problems` describes the first ten bad ones."""

    shape: Shape | None
    num_rows: int
    num_problems: int
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class Conversion:
    """A dataset that was accepted."""

    format: FileFormat
    shape: Shape
    num_rows: int


def convert(source: Path, target: Path, filename: str) -> Conversion:
    """Check `source` and write its rows to `target`, one `{"messages": [...]}` a line in UTF-8.

    `filename` is the name the file came with; it decides the format. `target` appears whole and safe on disk,
    or not at all. Raise `DatasetInvalidError` naming at most ten problems.
    """
    file_format = _format_of(source, filename)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    try:
        with open(handle, "w", encoding="utf-8", newline="\n") as out:
            report = read_dataset(source, file_format, lambda _, row: _write_row(out.write, row))
            if report.num_problems or report.shape is None:
                raise DatasetInvalidError(_describe(report))
            out.flush()
            os.fsync(out.fileno())
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)
    return Conversion(file_format, report.shape, report.num_rows)


def read_dataset(path: Path, format: FileFormat, on_row: OnRow | None = None) -> ReadReport:
    """Read every row; `on_row` gets the number (line or element, from 1) and normal form of each good one.

    The first row that can be read decides the shape. Raise `DatasetInvalidError` when the file as a whole is
    unusable: empty, binary, without rows, or a JSON array above `MAX_JSON_BYTES`.
    """
    reading = _Reading("line" if format == "jsonl" else "row", on_row)
    with path.open("rb") as file:
        _refuse_binary(file)
        for number, value in _parse(file, format):
            reading.take(number, value)
    if not reading.num_rows and not reading.num_problems:
        raise DatasetInvalidError("The file holds no rows.")
    return ReadReport(reading.shape, reading.num_rows, reading.num_problems, tuple(reading.problems))


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a file that `convert` wrote."""
    with path.open(encoding="utf-8", newline="\n") as file:
        for line in file:
            yield json.loads(line)


class _Reading:
    """One pass over a file: the shape, the counts and the first problems."""

    def __init__(self, unit: str, on_row: OnRow | None) -> None:
        self.shape: Shape | None = None
        self.num_rows = 0
        self.num_problems = 0
        self.problems: list[Problem] = []
        self._unit = unit
        self._on_row = on_row

    def take(self, number: int, value: Any) -> None:
        try:
            row = self._normalise(value)
        except RowError as error:
            self.num_problems += 1
            if len(self.problems) < MAX_PROBLEMS:
                self.problems.append(Problem(f"{self._unit} {number}", error.rule, error.message))
            return
        self.num_rows += 1
        if self._on_row is not None:
            self._on_row(number, row)

    def _normalise(self, value: Any) -> Row:
        if isinstance(value, RowError):
            raise value
        found = detect_shape(value)
        self.shape = self.shape or found
        if self.shape is None:
            if not isinstance(value, dict):
                raise RowError(Rule.NOT_AN_OBJECT, "The row is not a JSON object.")
            raise RowError(Rule.UNKNOWN_SHAPE, f"The row must have the fields {_SHAPES}.")
        if found is not None and found is not self.shape:
            raise RowError(Rule.MIXED_SHAPES, f"The row has shape '{found}', the first one '{self.shape}'.")
        return normalise(value, self.shape)


def _parse(file: BinaryIO, file_format: FileFormat) -> Iterator[Parsed]:
    if file_format == "jsonl":
        return parse_jsonl(file)
    if os.fstat(file.fileno()).st_size > MAX_JSON_BYTES:
        limit = MAX_JSON_BYTES // 1024**2
        raise DatasetInvalidError(f"A .json file may hold {limit} MiB; write larger ones as .jsonl.")
    return parse_json(file.read())


def _refuse_binary(file: BinaryIO) -> None:
    head = file.read(4096)
    file.seek(0)
    if not head:
        raise DatasetInvalidError("The file is empty.")
    if b"\0" in head:
        raise DatasetInvalidError("The file is not text in UTF-8: it is binary or in another encoding.")


def _format_of(source: Path, filename: str) -> FileFormat:
    suffix = PurePosixPath(filename).suffix.lower()
    if suffix in _SUFFIXES:
        return _SUFFIXES[suffix]
    if suffix:
        raise DatasetInvalidError("The file name must end in .jsonl or .json.")
    with source.open("rb") as file:
        return "json" if file.read(4096).removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b"[" else "jsonl"


def _describe(report: ReadReport) -> str:
    problems = "1 problem" if report.num_problems == 1 else f"{report.num_problems} problems"
    lines = [f"The dataset has {problems}:", *map(str, report.problems)]
    if more := report.num_problems - len(report.problems):
        lines.append(f"and {more} more.")
    return "\n".join(lines)


def _write_row(write: Callable[[str], object], row: Row) -> None:
    write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")


def _sync_folder(folder: Path) -> None:
    """Make a rename in the folder last through a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
