"""Parser that turns the text of a JSONL file into JSON values, one row at a time.

A line that cannot be read becomes a `RowError` in place of the value, so it does not hide the next one.
"""

import codecs
import itertools
import json
from collections.abc import Iterator
from typing import Any, Protocol

from train.data.formats.json_text import decode_whole
from train.data.rows.errors import RowError, Rule

MAX_ROW_BYTES = 16 * 1024**2
"""Maximum length of a row, which is held in memory."""

Parsed = tuple[int, Any]
"""Number of the line, or of the row where a format has no lines, counted from 1, and its value or `RowError`."""


class ByteStream(Protocol):
    """The stream that parsers read from."""

    def read1(self, size: int, /) -> bytes: ...

    def read(self, size: int, /) -> bytes: ...

    def readline(self, size: int, /) -> bytes: ...


def parse_jsonl(file: ByteStream) -> Iterator[Parsed]:
    """One value per line, in constant memory; blank lines are skipped but counted."""
    for number in itertools.count(1):
        line = file.readline(MAX_ROW_BYTES)
        if not line:
            return
        if len(line) == MAX_ROW_BYTES and not line.endswith(b"\n"):
            for _ in rest_of_line(file):
                pass
            yield number, too_long("line")
            continue
        # Files with a byte order mark that were concatenated have one in the middle.
        line = line.removeprefix(codecs.BOM_UTF8)
        if not line.isspace() and line:
            yield number, _parse_line(line)


def too_long(unit: str) -> RowError:
    return RowError(Rule.ROW_TOO_LONG, f"The {unit} is longer than {MAX_ROW_BYTES // 1024**2} MiB.")


def rest_of_line(file: ByteStream) -> Iterator[bytes]:
    """The rest of the line, in small pieces."""
    while piece := file.readline(1024**2):
        yield piece
        if piece.endswith(b"\n"):
            return


def _parse_line(line: bytes) -> Any:
    try:
        return decode_whole(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return RowError(Rule.INVALID_UTF8, f"The line is not valid UTF-8 (byte {error.start + 1}).")
    except json.JSONDecodeError as error:
        return RowError(Rule.BROKEN_JSON, f"The JSON is broken at column {error.pos + 1}: {error.msg}{_advice(error)}.")
    except RowError as error:
        return error


def _advice(error: json.JSONDecodeError) -> str:
    """What to do about a line that contains part of a row, or more than one."""
    if error.pos >= len(error.doc.rstrip()):
        return "; write each row on one line"
    if error.msg == "Extra data" and error.doc[error.pos] in "{[":
        return "; write one row per line"
    return ""
