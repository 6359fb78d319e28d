import os
from pathlib import Path

import pytest

from ftlab.files import free_bytes, replacing


def test_a_file_is_safe_before_it_has_its_name_and_its_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[object] = []
    replace = os.replace

    def note_sync(descriptor: int) -> None:
        calls.append(os.fstat(descriptor).st_ino)

    def note_rename(source: Path, target: Path) -> None:
        calls.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_rename)
    target = tmp_path / "report.json"
    target.write_text("old")
    with replacing(target) as aside:
        aside.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert calls == [target.stat().st_ino, "rename", tmp_path.stat().st_ino]
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("failing", ["write", "fsync", "replace"])
def test_an_error_leaves_what_was_there_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    target = tmp_path / "report.json"
    target.write_text("old")
    if failing != "write":
        monkeypatch.setattr(os, failing, fail)
    with pytest.raises(OSError, match="No space left"), replacing(target) as aside:  # noqa: PT012
        aside.write_text("new")
        if failing == "write":
            fail()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_second_link_to_the_same_file_does_not_stay(tmp_path: Path) -> None:
    """A rename between two links to one file does nothing at all."""
    target, aside = tmp_path / "blob", tmp_path / "aside"
    target.write_text("rows")
    with replacing(target, aside=aside):
        os.link(target, aside)
    assert list(tmp_path.iterdir()) == [target]


def test_free_space_where_there_is_no_folder_yet(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "not" / "yet") > 0
