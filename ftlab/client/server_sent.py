"""Reads server-sent events line by line (HTML standard, section 9.2), as far as this service uses them."""

from pydantic import ValidationError

from ftlab.client.wire import Fault
from ftlab.schemas.streams import STREAM_MESSAGE, StreamMessage


class MessageReader:
    """Collects the lines of a stream into messages. Types that a later service may add are skipped."""

    def __init__(self) -> None:
        self._data: list[str] = []
        self._type = ""
        self._id: str | None = None
        self.last_id: str | None = None
        """Where a reconnect continues: the newest id of a complete message."""

    def take(self, line: str) -> StreamMessage | None:
        """The message that this line completes. Raises `Fault` for one that cannot be read."""
        if line:
            self._collect(line)
            return None
        data, kind = "\n".join(self._data), self._type
        self._data, self._type = [], ""
        self.last_id = self._id
        if not data or kind not in KNOWN_TYPES:
            return None
        try:
            return STREAM_MESSAGE.validate_json(data)
        except ValidationError:
            raise Fault("a message of the stream cannot be read") from None

    def _collect(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "data":
                self._data.append(value)
            case "event":
                self._type = value
            case "id":
                self._id = value


KNOWN_TYPES = frozenset({"open", "events", "queue", "deleted", "end", "close"})
