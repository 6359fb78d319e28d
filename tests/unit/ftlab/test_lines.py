"""Lines of JSON documents, which may hold the other line breaks of Unicode."""

import json

from ftlab.lines import LineReader, lines_in

BREAKS = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg"


def test_only_a_line_feed_ends_a_line() -> None:
    documents = [json.dumps([BREAKS, number], ensure_ascii=False) for number in range(3)]
    text = "\n".join(documents) + "\n"
    assert lines_in(text) == lines_in(text.removesuffix("\n")) == documents
    assert (lines_in(""), lines_in("\n"), lines_in("a\n\nb")) == ([], [""], ["a", "", "b"])


def test_a_stream_is_read_in_pieces_of_any_size() -> None:
    data = f"{BREAKS}\r\n\né{BREAKS}\ncut off".encode()
    for size in (1, 2, 3, 7, len(data)):
        reader = LineReader()
        pieces = [data[start : start + size] for start in range(0, len(data), size)]
        assert [line for piece in pieces for line in reader.take(piece)] == [BREAKS, "", f"é{BREAKS}"]
