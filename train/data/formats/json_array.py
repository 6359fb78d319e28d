"""The elements of a JSON array of any size, read through a window that slides over the file.

An element that cannot be decoded may be cut off by the window. So an error is reported only when the window holds the
rest of the file, or more than the longest row that is allowed.
"""

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any

from train.data.formats import jsonl
from train.data.formats.json_text import decode_at, skip_space
from train.data.formats.jsonl import ByteStream, Parsed
from train.data.rows.errors import RowError, Rule

WINDOW_BYTES = 1024**2

_NO_ARRAY = (
    "A .json file must hold one array of rows, or one object per line; an object over several lines must be an element "
    "of an array."
)
_WRAPPERS = ("data", "rows", "train", "examples", "records", "items", "instances", "samples", "dataset")
_WRAPPED = re.compile(rf'\{{\s*"({"|".join(_WRAPPERS)})"\s*:\s*\[')
_NUMBER = (int, float)
_AFTER_NUMBER = frozenset(" \t\r\n,]")
_INSIDE_STRING = re.compile(r'["\\]')
_STRUCTURE = re.compile(r'["\[\]{},]')
_CUT_TOKEN = re.compile(r"\s*|\\?u?[0-9a-fA-F]{0,4}|\.|[eE][+-]?")
"""Nothing, the start of an escape, or the start of what may follow the digits of a number."""
_LITERALS = ("true", "false", "null", "NaN", "Infinity", "-Infinity")


def parse_json_array(file: ByteStream) -> Iterator[Parsed]:
    """Number each element from 1. Text after a broken element cannot be read, so it is the last one."""
    window = _Window(file)
    if window.peek() != "[":
        wrapper = _WRAPPED.match(window.text, window.position)
        yield 1, wrapped(wrapper.group(1)) if wrapper else RowError(Rule.NOT_AN_ARRAY, _NO_ARRAY)
        return
    window.position += 1
    number, mark = 0, window.peek()
    try:
        while mark != "]":
            number += 1
            yield number, window.element(number)
            mark = window.mark_after(number)
            window.position += mark == ","
        number += 1
        window.position += 1
        if window.peek():
            raise window.broken(window.position, "Extra data")
    except RowError as error:
        yield number, error


def wrapped(key: str) -> RowError:
    """The error for a file whose rows are a list inside an object."""
    return RowError(Rule.NOT_AN_ARRAY, f"The rows are inside the list '{key}'; upload that list alone, as one array.")


def wrapper_key(row: dict[str, Any]) -> str | None:
    """The key of an object under which a list of rows is."""
    return next((key for key in _WRAPPERS if isinstance(row.get(key), list)), None)


class _Window:
    """A part of the file's text; everything before `position` has been read."""

    def __init__(self, file: ByteStream) -> None:
        self.text = ""
        self.position = 0
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._failure: RowError | None = None
        self._is_start = True
        self._is_complete = False
        self._is_valid_utf8 = True
        self._line = 1
        self._column = 1

    def peek(self) -> str:
        """Skip white space; return the character at `position`, empty at the end of the file."""
        while True:
            self.position = skip_space(self.text, self.position)
            if self.position < len(self.text) or not self._grow():
                return self.text[self.position : self.position + 1]

    def element(self, number: int) -> Any:
        """Read the value at `position` and move past it; return a `RowError` for one that cannot be used.

        Raise `RowError` when the array is broken here.
        """
        self.peek()
        while True:
            try:
                value, end = decode_at(self.text, self.position)
            except json.JSONDecodeError as error:
                is_cut = error.msg.startswith("Unterminated string") or self._is_cut_at(error.pos)
                if not is_cut and not self._may_grow:
                    raise self.broken(error.pos, error.msg) from None
            except RowError as error:
                self._skip_value(number)
                return error
            else:
                # A number might continue: of `12.5`, the window may hold `12.`.
                is_whole = not isinstance(value, _NUMBER) or self.text[end : end + 1] in _AFTER_NUMBER
                if (is_whole or not self._may_grow) and end - self.position <= jsonl.MAX_ROW_BYTES:
                    self.position = end
                    return value
            if not self._may_grow:
                self._skip_value(number)
                return jsonl.too_long("row")
            self._grow()

    @property
    def _may_grow(self) -> bool:
        """Whether more text may complete the row at `position`."""
        return not self._is_complete and len(self.text) - self.position <= jsonl.MAX_ROW_BYTES

    def mark_after(self, number: int) -> str:
        """The comma or bracket after row `number`; raise `RowError` when neither follows."""
        mark = self.peek()
        if mark and mark in ",]":
            return mark
        if not (self._is_complete and self._is_cut_at(self.position)):
            raise self.broken(self.position, "Expecting ',' or ']' after a row")
        raise self._ended(f"after row {number}, before the closing ']'")

    def broken(self, position: int, problem: str) -> RowError:
        return RowError(Rule.BROKEN_JSON, f"The JSON is broken at {self._place(position)}: {problem}.")

    def _ended(self, where: str) -> RowError:
        """The error for text that ends too early."""
        place = self._place(len(self.text))
        if not self._is_valid_utf8:
            return RowError(Rule.INVALID_UTF8, f"The file is not valid UTF-8 at {place}.")
        return RowError(Rule.CUT_OFF, f"The file is cut off: it ends at {place}, {where}.")

    def _is_cut_at(self, position: int) -> bool:
        """Whether the text from `position` to its end may be the start of a valid token."""
        rest = self.text[position:]
        return _CUT_TOKEN.fullmatch(rest) is not None or any(literal.startswith(rest) for literal in _LITERALS)

    def _grow(self) -> bool:
        """Drop what has been read and double the rest, so that a long element is decoded only a few times.

        Return whether there was more to read.
        """
        if self._is_complete:
            return False
        self._line += self.text.count("\n", 0, self.position)
        last_break = self.text.rfind("\n", 0, self.position)
        self._column = self.position - last_break if last_break >= 0 else self._column + self.position
        kept = self.text[self.position :]
        data = self._read(max(WINDOW_BYTES, len(kept)))
        self._is_complete = not data
        if self._is_start:
            data, self._is_start = data.removeprefix(codecs.BOM_UTF8), False
        self.text, self.position = kept + self._decode(data), 0
        return True

    def _read(self, size: int) -> bytes:
        """Read at most `size` bytes. Where reading fails, return what came before, and raise at the next call."""
        if self._failure is not None:
            raise self._failure
        pieces: list[bytes] = []
        try:
            while size > 0 and (piece := self._file.read1(size)):
                pieces.append(piece)
                size -= len(piece)
        except RowError as error:
            if not pieces:
                raise
            self._failure = error
        return b"".join(pieces)

    def _decode(self, data: bytes) -> str:
        try:
            return self._decoder.decode(data)
        except UnicodeDecodeError as error:
            self._is_complete, self._is_valid_utf8 = True, False
            return bytes(error.object[: error.start]).decode("utf-8")

    def _place(self, position: int) -> str:
        line = self._line + self.text.count("\n", 0, position)
        last_break = self.text.rfind("\n", 0, position)
        column = position - last_break if last_break >= 0 else self._column + position
        return f"line {line}, column {column}"

    def _skip_value(self, number: int) -> None:
        """Move past the value at `position` by its brackets and quotes; raise `RowError` at the end of the file."""
        start = self._place(self.position)
        depth, in_string = 0, False
        while True:
            match = (_INSIDE_STRING if in_string else _STRUCTURE).search(self.text, self.position)
            if match is None:
                self.position = len(self.text)
                if not self._grow():
                    raise self._ended(f"inside row {number}, which begins at {start}")
                continue
            mark = match.group()
            if depth == 0 and not in_string and mark in ",]}":
                self.position = match.start()
                return
            self.position = match.end()
            if mark == "\\":
                if self.position == len(self.text):
                    self._grow()
                self.position += 1
            elif mark == '"':
                in_string = not in_string
            else:
                depth += (mark in "[{") - (mark in "]}")
            if depth == 0 and not in_string and mark in '"]}':
                return
