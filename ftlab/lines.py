"""Lines with JSON documents.

Only a line feed ends one: JSON may hold other line breaks of Unicode, such as U+2028, as they are, and both
`str.splitlines` and the `iter_lines` of HTTP clients break lines at them.
"""


def lines_in(text: str) -> list[str]:
    """The lines of a text, without the empty one behind its last line feed."""
    return text.removesuffix("\n").split("\n") if text else []


class LineReader:
    """Reads the lines of a stream of UTF-8. One that is cut off at the end of the stream is dropped."""

    def __init__(self) -> None:
        self._rest = b""

    def take(self, data: bytes) -> list[str]:
        """The lines that end in the next piece of the stream."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [line.removesuffix(b"\r").decode("utf-8", "replace") for line in lines]
