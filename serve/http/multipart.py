"""Extract the file from a `multipart/form-data` body while it streams in."""

from collections.abc import Collection
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from ftlab.errors import InvalidRequestError, MalformedRequestError
from serve.http.problems import unknown_form_field

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FIELD = "file"
MAX_TEXT_BYTES = 1000
"""Largest value of a field that is not the file."""


class MultipartFile:
    """The part of the form field `file`: `feed` takes the body and returns the bytes of the file.

    `field` is another name of that field, and `texts` names fields that the form may have besides, each with a short
    text. Raise `MalformedRequestError` for a body that is not a multipart form, and `InvalidRequestError` for a form
    without the field, with two of them, or with a field that is not named.
    """

    def __init__(self, content_type: str, field: str = FIELD, texts: Collection[str] = ()) -> None:
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data" or not boundary:
            raise _malformed("needs the content type multipart/form-data with a boundary")
        self.filename = ""
        self.texts: dict[str, str] = {}
        """Values of the fields in `texts`; complete after `finish`."""
        self._field = field
        self._known_texts = frozenset(texts)
        self._text: tuple[str, bytearray] | None = None
        self._parser = self._make_parser(boundary)
        self._header = (bytearray(), bytearray())
        self._disposition = ""
        self._is_file = False
        self._num_files = 0
        self._other_field: str | None = None
        """Name of the first field that is not the file."""
        self._is_complete = False
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> bytes:
        """The bytes of the file that this chunk of the body holds."""
        self._data.clear()
        try:
            self._parser.write(chunk)
        except FormParserError:
            raise _malformed("is broken") from None
        return b"".join(self._data)

    def finish(self) -> None:
        """Check the form. Call after the last chunk: a client that still sends could not read the error."""
        if not self._is_complete:
            raise _malformed("ends before its closing boundary")
        if self._other_field is not None:
            raise unknown_form_field(self._other_field, self._field, self._known_texts)
        if self._num_files != 1:
            found = "none" if self._num_files == 0 else "more than one"
            message = f"The form must have one field '{self._field}'; it has {found}."
            raise InvalidRequestError(message, "missing_file", self._field)

    def _make_parser(self, boundary: bytes) -> MultipartParser:
        callbacks: MultipartCallbacks = {
            "on_part_begin": self._begin_part,
            "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._take_data,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }
        try:
            return MultipartParser(boundary, callbacks)
        except FormParserError:
            raise _malformed("has a boundary that is too long") from None

    def _begin_part(self) -> None:
        self._disposition = ""
        self._is_file = False

    def _end_header(self) -> None:
        name, value = (bytes(part) for part in self._header)
        self._header = (bytearray(), bytearray())
        if name.lower() == b"content-disposition":
            self._disposition = value.decode("utf-8", "replace")

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._disposition.encode().decode("latin-1"))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if name == self._field:
            self._is_file = True
            self._num_files += 1
            self.filename = options.get(b"filename", b"").decode("utf-8", "replace")
        elif name in self._known_texts and name not in self.texts:
            self._text = (name, bytearray())
        elif self._other_field is None:
            self._other_field = name

    def _take_data(self, data: bytes, start: int, end: int) -> None:
        # Data of a second file, or after another field, is dropped, as `finish` refuses the form.
        if self._is_file and self._num_files == 1 and self._other_field is None:
            self._data.append(data[start:end])
        if self._text is not None and len(self._text[1]) <= MAX_TEXT_BYTES:
            self._text[1].extend(data[start:end])

    def _end_part(self) -> None:
        if self._text is None:
            return
        (name, value), self._text = self._text, None
        if len(value) > MAX_TEXT_BYTES:
            raise InvalidRequestError(f"{name} must have at most {MAX_TEXT_BYTES} bytes.", "invalid_parameter", name)
        self.texts[name] = value.decode("utf-8", "replace")

    def _end(self) -> None:
        self._is_complete = True


def _malformed(problem: str) -> MalformedRequestError:
    return MalformedRequestError(f"The form {problem}.", "malformed_form")
