"""The elements of a JSON array of any size, read through a window that slides over the file.

The window grows until it holds the element that begins at its position. An error of the decoder counts only
where more text could not change it.
"""

import codecs
import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

from train.data.formats import jsonl
from train.data.formats.json_text import decode_at, skip_space
from train.data.formats.jsonl import ByteStream, Parsed
from train.data.rows.errors import RowError, Rule

WINDOW_BYTES = 1024**2

_NO_ARRAY = "A .json file must hold one array of rows; name it .jsonl if it has one row a line."
_INSIDE_STRING = re.compile(r'["\\]')
_STRUCTURE = re.compile(r'["\[\]{},]')
_CUT_TOKEN = re.compile(r"\\?u?[0-9a-fA-F]{0,4}|\.|[eE][+-]?")
"""An escape, or what follows the digits of a number, without its end."""
_OPEN_STRING = "Unterminated string"
_LITERALS = ("true", "false", "null", "NaN", "Infinity", "-Infinity")
_MARGIN = 32
"""Characters before the window's end in which a literal or an escape may be cut."""


def parse_json_array(file: ByteStream) -> Iterator[Parsed]:
    """Number each element from 1. The text behind a broken one cannot be read any more, so it is the last."""
    window = _Window(file)
    if window.peek() != "[":
        yield 1, RowError(Rule.NOT_AN_ARRAY, _NO_ARRAY)
        return
    window.position += 1
    if window.peek() == "]":
        yield from _after_array(window, 1)
        return
    for number in itertools.count(1):
        try:
            yield number, window.element(number)
            mark = window.peek()
            if mark not in ",]" and not window.is_cut_at(window.position):
                raise window.broken(window.position, "Expecting ',' or ']' after a row")
            if not mark or mark not in ",]":
                raise window.ended(f"after row {number}, before the closing ']'")
        except RowError as error:
            yield number, error
            return
        window.position += 1
        if mark == "]":
            yield from _after_array(window, number + 1)
            return


def _after_array(window: "_Window", number: int) -> Iterator[Parsed]:
    window.position += number == 1
    if window.peek():
        yield number, window.broken(window.position, "Extra data")


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
        """The next character that is no white space, at `position`; empty at the file's end."""
        while True:
            self.position = skip_space(self.text, self.position)
            if self.position < len(self.text) or not self._grow():
                return self.text[self.position : self.position + 1]

    def element(self, number: int) -> Any:
        """The value at `position`, which moves behind it, or the `RowError` that makes it useless.

        Raise `RowError` when the array is broken here.
        """
        self.peek()
        while True:
            try:
                value, end = decode_at(self.text, self.position)
            except json.JSONDecodeError as error:
                if self._is_final(error):
                    raise self._broken_element(error, number) from None
            except RowError as error:
                self._skip_value(number)
                return error
            else:
                # A number might go on: of `12.5`, the window may hold `12.`.
                margin = _MARGIN if isinstance(value, int | float) else 0
                if end < len(self.text) - margin or self._is_complete:
                    too_long = end - self.position > jsonl.MAX_ROW_BYTES
                    self.position = end
                    return jsonl.too_long("row") if too_long else value
            if len(self.text) - self.position > jsonl.MAX_ROW_BYTES:
                self._skip_value(number)
                return jsonl.too_long("row")
            self._grow()

    def broken(self, position: int, problem: str) -> RowError:
        return RowError(Rule.BROKEN_JSON, f"The JSON is broken at {self._place(position)}: {problem}.")

    def ended(self, where: str) -> RowError:
        """What to say when the text ends too early."""
        place = self._place(len(self.text))
        if not self._is_valid_utf8:
            return RowError(Rule.INVALID_UTF8, f"The file is not valid UTF-8 at {place}.")
        return RowError(Rule.CUT_OFF, f"The file is cut off: it ends at {place}, {where}.")

    def is_cut_at(self, position: int) -> bool:
        """Whether the file ends so soon that what stands at `position` may be the beginning of something right."""
        rest = self.text[position:]
        if not self._is_complete or len(rest) > _MARGIN:
            return False
        return (
            not rest.strip()
            or _CUT_TOKEN.fullmatch(rest) is not None
            or any(literal.startswith(rest) for literal in _LITERALS)
        )

    def _broken_element(self, error: json.JSONDecodeError, number: int) -> RowError:
        if self._is_complete and (error.msg.startswith(_OPEN_STRING) or self.is_cut_at(error.pos)):
            return self.ended(f"inside row {number}, which begins at {self._place(self.position)}")
        return self.broken(error.pos, error.msg)

    def _is_final(self, error: json.JSONDecodeError) -> bool:
        if self._is_complete:
            return True
        return error.pos < len(self.text) - _MARGIN and not error.msg.startswith(_OPEN_STRING)

    def _grow(self) -> bool:
        """Drop what has been read and double the rest, so that a long element is not decoded again and again.

        Returns whether there is more.
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
        """At most so many bytes; where reading fails, first what came before."""
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
        """Move behind the value at `position` by its brackets and quotes alone; raise `RowError` at the file's end."""
        start = self._place(self.position)
        depth, in_string = 0, False
        while True:
            match = (_INSIDE_STRING if in_string else _STRUCTURE).search(self.text, self.position)
            if match is None:
                self.position = len(self.text)
                if not self._grow():
                    raise self.ended(f"inside row {number}, which begins at {start}")
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
