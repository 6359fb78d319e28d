import os
from pathlib import Path
from typing import Any

import pytest

from train.data.rows import canonical
from train.data.rows.canonical import CanonicalFile, Kind, write_canonical
from train.data.rows.errors import DatasetInvalidError

USER = {"role": "user", "content": "Where?\0 ☃ 😀"}
ANSWER = {"role": "assistant", "content": "Here."}
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": "queue"}'}}
CALLING = {"role": "assistant", "content": "", "tool_calls": [CALL], "weight": 0}
RESULT = {"role": "tool", "content": "", "name": "look", "tool_call_id": "c1"}
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"deep": [1, 2.5, None, True]}}}]

ROWS: dict[Kind, list[dict[str, Any]]] = {
    Kind.MESSAGES: [
        {"messages": [USER, ANSWER]},
        {"messages": [USER, CALLING, RESULT, ANSWER | {"weight": 1}], "tools": TOOLS},
        {"messages": [ANSWER]},
    ],
    Kind.PREFERENCE: [
        {"prompt": [USER], "chosen": [ANSWER], "rejected": [{"role": "assistant", "content": "No."}]},
        {"prompt": [USER], "chosen": [ANSWER], "rejected": [CALLING], "is_joined": True},
        {"prompt": [USER, ANSWER, USER], "chosen": [CALLING, RESULT, ANSWER], "rejected": [ANSWER], "tools": TOOLS},
    ],
    Kind.UNPAIRED: [
        {"prompt": [USER], "completion": [ANSWER], "label": True},
        {"prompt": [USER], "completion": [ANSWER], "label": False, "tools": TOOLS},
        {"prompt": [USER], "completion": [ANSWER], "label": True, "is_joined": True},
    ],
    Kind.TEXT: [{"text": "Once upon a time"}, {"text": "\n"}],
    Kind.PROMPTS: [{"prompt": [USER], "is_joined": True}, {"prompt": [USER, ANSWER, USER], "tools": TOOLS}],
}


def write(path: Path, kind: Kind, rows: list[dict[str, Any]]) -> Path:
    with write_canonical(path, kind) as out:
        for line, row in enumerate(rows, 3):
            out.write(line, row)
    return path


@pytest.mark.parametrize("kind", Kind)
def test_rows_of_every_kind_come_back_equal_with_their_lines(tmp_path: Path, kind: Kind):
    expected = list(enumerate(ROWS[kind], 3))
    with CanonicalFile.open(write(tmp_path / "rows.arrow", kind, ROWS[kind])) as file:
        assert (file.kind, file.num_rows) == (kind, len(expected))
        assert [row for batch in file.batches() for row in batch] == expected
        assert [file.row(index) for index in range(file.num_rows)] == expected
        assert [[row] for row in expected] == list(file.batches(1))
    assert [path.name for path in tmp_path.iterdir()] == ["rows.arrow"]


def test_many_rows_are_written_in_batches_and_found_by_their_position(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(canonical, "BATCH_ROWS", 7)
    rows = [{"messages": [USER, {"role": "assistant", "content": str(number)}]} for number in range(50)]
    with CanonicalFile.open(write(tmp_path / "rows.arrow", Kind.MESSAGES, rows)) as file:
        assert [len(batch) for batch in file.batches(5)] == [5, 2] * 7 + [1]
        assert [file.row(index)[1] for index in (0, 6, 7, 48, 49)] == [rows[index] for index in (0, 6, 7, 48, 49)]
        for index in (-1, 50):
            with pytest.raises(IndexError):
                file.row(index)


def test_huge_rows_are_not_gathered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(canonical, "BATCH_CHARS", 100)
    rows = [{"text": "x" * 60} for _ in range(5)]
    with CanonicalFile.open(write(tmp_path / "rows.arrow", Kind.TEXT, rows)) as file:
        assert [len(batch) for batch in file.batches()] == [2, 2, 1]


def test_many_short_messages_are_not_gathered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(canonical, "BATCH_CHARS", 1_000)
    rows = [{"messages": [{"role": "user", "content": ""}] * 60} for _ in range(5)]
    with CanonicalFile.open(write(tmp_path / "rows.arrow", Kind.MESSAGES, rows)) as file:
        assert [len(batch) for batch in file.batches()] == [2, 2, 1]


def test_no_rows_make_an_empty_file(tmp_path: Path):
    with CanonicalFile.open(write(tmp_path / "rows.arrow", Kind.MESSAGES, [])) as file:
        assert (file.num_rows, list(file.batches())) == (0, [])


def test_an_earlier_file_is_replaced_only_when_all_rows_are_there(tmp_path: Path):
    path = write(tmp_path / "rows.arrow", Kind.TEXT, [{"text": "before"}])
    with pytest.raises(ZeroDivisionError), write_canonical(path, Kind.TEXT) as out:  # noqa: PT012
        out.write(1, {"text": "after"})
        raise ZeroDivisionError
    with CanonicalFile.open(path) as file:
        assert file.row(0) == (3, {"text": "before"})
    assert [found.name for found in tmp_path.iterdir()] == ["rows.arrow"]


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / "rows.arrow", Kind.TEXT, [{"text": "x"}])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cut", [0, 6, 100, -20])
def test_a_torn_or_foreign_file_is_named(tmp_path: Path, cut: int):
    path = write(tmp_path / "rows.arrow", Kind.TEXT, [{"text": "x"}])
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DatasetInvalidError, match="damaged or of another version"):
        CanonicalFile.open(path)
    with pytest.raises(DatasetInvalidError, match="no longer there"):
        CanonicalFile.open(tmp_path / "other.arrow")


def test_a_later_version_is_not_misread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write(tmp_path / "rows.arrow", Kind.TEXT, [{"text": "x"}])
    monkeypatch.setattr(canonical, "READABLE_VERSIONS", {"later"})
    with pytest.raises(DatasetInvalidError, match="another version"):
        CanonicalFile.open(path)


@pytest.mark.parametrize("kind", [Kind.PREFERENCE, Kind.UNPAIRED])
def test_rows_of_the_version_before_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind):
    columns = {name: value for name, value in canonical._COLUMNS[kind].items() if name != "is_joined"}
    with monkeypatch.context() as earlier:
        earlier.setattr(canonical, "VERSION", "2")
        earlier.setitem(canonical._COLUMNS, kind, columns)
        path = write(tmp_path / "rows.arrow", kind, ROWS[kind])
    with CanonicalFile.open(path) as file:
        found = [row for _, row in file.rows()]
    assert found == [{name: value for name, value in row.items() if name != "is_joined"} for row in ROWS[kind]]
