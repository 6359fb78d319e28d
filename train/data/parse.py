"""From the bytes of a dataset file to JSON values, one row at a time.

What cannot be read is handed on as a `RowError` in place of the value: a broken line does not hide the next.
"""

import codecs
import itertools
import json
import math
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from train.data.shapes import RowError, Rule

MAX_ROW_BYTES = 16 * 1024**2
"""Longest line of a JSONL file: what one row may take in memory."""

Parsed = tuple[int, Any]
"""Number of the line (JSONL) or the element (JSON), counted from 1, and its value or `RowError`."""

_TOO_LONG = f"The line is longer than {MAX_ROW_BYTES // 1024**2} MiB."
_NO_ARRAY = "A .json file must hold one array of rows; name it .jsonl if it has one row a line."
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_SPACE = re.compile(r"[ \t\r\n]*")


def parse_jsonl(file: BinaryIO) -> Iterator[Parsed]:
    """One value a line, in constant memory; blank lines are skipped but counted."""
    for number in itertools.count(1):
        line = file.readline(MAX_ROW_BYTES)
        if not line:
            return
        if len(line) == MAX_ROW_BYTES and not line.endswith(b"\n"):
            _skip_line(file)
            yield number, RowError(Rule.ROW_TOO_LONG, _TOO_LONG)
            continue
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        if line.strip():
            yield number, _parse_line(line)


def parse_json(data: bytes) -> Iterator[Parsed]:
    """The elements of one JSON array; the text behind a broken element cannot be read any more."""
    try:
        yield from _parse_array(data.removeprefix(codecs.BOM_UTF8).decode("utf-8"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        yield 1, RowError(Rule.INVALID_UTF8, f"The file is not valid UTF-8 in line {line}.")


def _parse_array(text: str) -> Iterator[Parsed]:
    position = _skip_space(text, 0)
    if text[position : position + 1] != "[":
        yield 1, RowError(Rule.NOT_AN_ARRAY, _NO_ARRAY)
        return
    position = _skip_space(text, position + 1)
    closed = text[position : position + 1] == "]"
    for number in itertools.count(1):
        if closed:
            position = _skip_space(text, position + 1)
            if position < len(text):
                yield number, _broken(text, position, "Extra data")
            return
        try:
            value, end = _decode(text, position)
        except RowError as error:
            yield number, error
            return
        yield number, value
        position = _skip_space(text, end)
        mark = text[position : position + 1]
        if mark == ",":
            position = _skip_space(text, position + 1)
        elif mark == "]":
            closed = True
        else:
            yield number, _broken(text, position, "Expecting ',' or ']' after a row")
            return


def _parse_line(line: bytes) -> Any:
    try:
        text = line.decode("utf-8")
        value, end = _decode(text, _skip_space(text, 0), is_line=True)
    except UnicodeDecodeError as error:
        return RowError(Rule.INVALID_UTF8, f"The line is not valid UTF-8 (byte {error.start + 1}).")
    except RowError as error:
        return error
    rest = _skip_space(text, end)
    return value if rest == len(text) else _broken(text, rest, "Extra data", is_line=True)


def _decode(text: str, position: int, *, is_line: bool = False) -> tuple[Any, int]:
    """The value that starts at `position` and where it ends; raise `RowError` when it is not clean JSON."""
    try:
        value, end = _DECODER.raw_decode(text, position)
        if _SURROGATE_ESCAPE.search(text, position, end):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except json.JSONDecodeError as error:
        raise _broken(text, error.pos, error.msg, is_line=is_line) from None
    except UnicodeEncodeError:
        raise RowError(Rule.LONE_SURROGATE, "A text holds half of a surrogate pair.") from None
    except ValueError:
        # Python refuses to read integers of more than 4,300 digits.
        raise RowError(Rule.BROKEN_JSON, "A number has too many digits.") from None
    except RecursionError:
        raise RowError(Rule.TOO_DEEP, "The row is nested too deeply.") from None
    return value, end


def _broken(text: str, position: int, problem: str, *, is_line: bool = False) -> RowError:
    column = position - text.rfind("\n", 0, position)
    place = f"column {column}" if is_line else f"line {text.count(chr(10), 0, position) + 1}, column {column}"
    return RowError(Rule.BROKEN_JSON, f"The JSON is broken at {place}: {problem}.")


def _skip_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _skip_line(file: BinaryIO) -> None:
    while (rest := file.readline(1024**2)) and not rest.endswith(b"\n"):
        pass


def _finite(literal: str) -> float:
    number = float(literal)
    if math.isinf(number):
        raise RowError(Rule.NON_FINITE_NUMBER, "A number is too large.")
    return number


def _refuse_constant(_: str) -> float:
    raise RowError(Rule.NON_FINITE_NUMBER, "NaN and Infinity are not valid in JSON.")


_DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_refuse_constant)
