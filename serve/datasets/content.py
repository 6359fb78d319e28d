"""Sending the file of a dataset from its bucket."""

from collections.abc import Generator

from starlette.requests import Request
from starlette.responses import Response

from serve.datasets.service import Content
from serve.http.ranges import CHUNK_BYTES, file_response


def content_response(request: Request, content: Content) -> Response:
    """Send the file, or the part that is asked for; only the headers for HEAD."""

    def pieces(start: int, stop: int) -> Generator[bytes, None, None]:
        with content.storage.open(content.key) as file:
            file.seek(start)
            while start < stop and (piece := file.read(min(CHUNK_BYTES, stop - start))):
                start += len(piece)
                yield piece

    return file_response(request, pieces, num_bytes=content.num_bytes, etag=content.etag, filename=content.filename)
