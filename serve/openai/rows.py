"""The first row of an uploaded file, which says how OpenAI's methods read it."""

from pathlib import Path

from ftlab.openai.rows import MAX_LINE_BYTES, options_of
from ftlab.schemas.requests import UploadEnd
from train.data.formats.source import open_plain


def read_options(source: Path) -> UploadEnd:
    """The shape and the columns of a file; nothing where the usual detection reads it."""
    try:
        with open_plain(source) as file:
            line = file.readline(MAX_LINE_BYTES)
    except (ValueError, OSError, EOFError):
        return UploadEnd()  # what is wrong with the file is said when it is read as a whole
    return UploadEnd(**options_of(line))
