"""Range headers, names of downloads, and streams that end early."""

import asyncio

import pytest

from ftlab.errors import RangeNotSatisfiableError
from serve.http.ranges import attachment, parse_range, stream


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("bytes=0-", (0, 100)),
        ("bytes=10-", (10, 100)),
        ("bytes=10-19", (10, 20)),
        ("bytes=99-99", (99, 100)),
        ("bytes=90-1000", (90, 100)),
        ("bytes=-10", (90, 100)),
        ("bytes=-1000", (0, 100)),
        ("bytes=20-10", None),
        ("bytes=0-1,5-6", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("bytes=١-", None),
        ("items=0-1", None),
        ("bytes=" + "9" * 5_000 + "-", None),
    ],
)
def test_ranges(header, expected):
    assert parse_range(header, 100) == expected


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_ranges_of_nothing(header):
    with pytest.raises(RangeNotSatisfiableError):
        parse_range(header, 100)


@pytest.mark.parametrize(
    ("filename", "plain"),
    [
        ("chat.jsonl", None),
        ("a job.zip", "a-job.zip"),
        ("näme.jsonl.gz", "n-me.jsonl.gz"),
        ("模.zip", "download.zip"),
        ("模", "download"),
        ('we"ird;\r\n.zip', "we-ird-.zip"),
    ],
)
def test_the_name_of_a_download(filename, plain):
    value = attachment(filename)
    assert value.startswith(f'attachment; filename="{plain or filename}"')
    assert ("filename*=UTF-8''" in value) == (plain is not None)


def test_an_abandoned_stream_ends_its_generator():
    closed = []

    def pieces():
        try:
            while True:
                yield b"x"
        finally:
            closed.append(True)

    async def main():
        body = stream(pieces())
        assert await anext(body) == b"x"
        await body.aclose()
        await asyncio.sleep(0.1)
        assert closed

    asyncio.run(main())
