"""Archives of committed folders: the bytes, their parts, their cost, and what is refused."""

import io
import os
import random
import shutil
import subprocess
import time
import timeit
import tracemalloc
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import pytest

from ftlab.errors import NotFoundError
from serve.downloads.zip_archive import FolderArchive
from serve.http.ranges import CHUNK_BYTES
from tests.support.committed_folders import commit_folder, write_manifest

FILES = {
    "adapter_model.safetensors": os.urandom(300_000),
    "adapter_config.json": b"{}",
    "empty.txt": b"",
    "sub/näme.txt": b"text" * 1_000,
}


def commit(folder: Path, files: Mapping[str, bytes] = FILES, **manifest: object) -> Path:
    return commit_folder(folder, files, **manifest)


def whole(archive: FolderArchive) -> bytes:
    return b"".join(archive.pieces(0, archive.num_bytes))


def test_the_archive_holds_what_the_manifest_lists(tmp_path):
    folder = commit(tmp_path / "model")
    (folder / "stray.txt").write_text("not listed")
    archive = FolderArchive.of(folder)
    content = whole(archive)
    assert len(content) == archive.num_bytes
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        assert opened.testzip() is None
        assert {name: opened.read(name) for name in opened.namelist()} == FILES
        assert {info.date_time for info in opened.infolist()} == {(2026, 3, 4, 5, 6, 8)}


@pytest.mark.skipif(shutil.which("unzip") is None, reason="needs unzip")
def test_unzip_accepts_it(tmp_path):
    (tmp_path / "model.zip").write_bytes(whole(FolderArchive.of(commit(tmp_path / "model"))))
    tested = subprocess.run(["unzip", "-t", tmp_path / "model.zip"], capture_output=True, text=True, check=False)
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "No errors detected" in tested.stdout


def test_the_same_folder_gives_the_same_bytes_at_any_time_and_place(tmp_path, monkeypatch):
    first = FolderArchive.of(commit(tmp_path / "model"))
    content = whole(first)
    shutil.copytree(tmp_path / "model", tmp_path / "moved")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    monkeypatch.setattr(time, "localtime", lambda *_: time.gmtime(2_000_000_000))
    second = FolderArchive.of(tmp_path / "moved")
    assert (second.etag, whole(second)) == (first.etag, content)
    monkeypatch.undo()
    time.tzset()


def test_another_content_or_selection_has_another_tag(tmp_path):
    folder = commit(tmp_path / "model")
    tags = {FolderArchive.of(folder).etag, FolderArchive.of(folder, is_wanted=lambda name: "config" not in name).etag}
    commit(folder, FILES | {"adapter_config.json": b"[]"})
    tags.add(FolderArchive.of(folder).etag)
    assert len(tags) == 3


def test_any_part_equals_the_same_part_of_the_whole(tmp_path):
    archive = FolderArchive.of(commit(tmp_path / "model", {"big": os.urandom(2 * CHUNK_BYTES + 7), **FILES}))
    content = whole(archive)
    rng = random.Random(3)
    cuts = [(rng.randrange(archive.num_bytes), rng.randrange(archive.num_bytes)) for _ in range(40)]
    for start, stop in [(0, 1), (len(content) - 1, len(content)), *cuts]:
        start, stop = sorted((start, stop + 1))
        assert b"".join(archive.pieces(start, stop)) == content[start:stop]


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "sub/../../secret", "./x", "a//b", "a\\b", "", "..", "a/", "a\0b"]
)
def test_a_manifest_that_leaves_its_folder_is_refused(tmp_path, name):
    (tmp_path / "secret").write_text("secret")
    folder = commit(tmp_path / "model")
    write_manifest(folder, files={name: {"size": 6, "sha256": "0" * 64}})
    with pytest.raises(NotFoundError):
        FolderArchive.of(folder)


def test_links_and_special_files_are_refused(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"{}")

    def a_link_in_place_of_a_file(folder: Path) -> None:
        (folder / "adapter_config.json").unlink()
        (folder / "adapter_config.json").symlink_to(secret)

    def a_link_in_place_of_a_parent(folder: Path) -> None:
        (folder / "sub").rename(folder.with_suffix(".aside"))
        (folder / "sub").symlink_to(folder.with_suffix(".aside"))

    def a_link_in_place_of_the_manifest(folder: Path) -> None:
        (folder / "manifest.json").rename(folder.with_suffix(".json"))
        (folder / "manifest.json").symlink_to(folder.with_suffix(".json"))

    def a_link_in_place_of_the_folder(folder: Path) -> None:
        folder.rename(folder.with_suffix(".moved"))
        folder.symlink_to(folder.with_suffix(".moved"))

    def a_pipe(folder: Path) -> None:
        (folder / "empty.txt").unlink()
        os.mkfifo(folder / "empty.txt")

    def another_size(folder: Path) -> None:
        (folder / "adapter_config.json").write_bytes(b"{ }")

    def a_missing_file(folder: Path) -> None:
        (folder / "adapter_config.json").unlink()

    def a_broken_manifest(folder: Path) -> None:
        (folder / "manifest.json").write_text('{"files": ')

    for spoil in (
        a_link_in_place_of_a_file,
        a_link_in_place_of_a_parent,
        a_link_in_place_of_the_manifest,
        a_link_in_place_of_the_folder,
        a_pipe,
        another_size,
        a_missing_file,
        a_broken_manifest,
    ):
        folder = commit(tmp_path / spoil.__name__)
        spoil(folder)
        with pytest.raises(NotFoundError) as refusal:
            FolderArchive.of(folder)
        assert refusal.value.code == "files_damaged", spoil


def test_a_folder_without_manifest_was_not_committed(tmp_path):
    for folder in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(FileNotFoundError):
            FolderArchive.of(folder)


def test_a_file_that_changes_on_the_way_breaks_the_archive(tmp_path):
    folder = commit(tmp_path / "model", {"a": b"x" * CHUNK_BYTES, "b": b"y" * 100})
    pieces = FolderArchive.of(folder).pieces(0, 10**9)
    next(pieces)
    (folder / "b").write_bytes(b"other")
    with pytest.raises(OSError, match="not the regular file"):
        list(pieces)


def test_a_large_archive_costs_little_memory_and_little_more_than_its_checksum(tmp_path):
    size = 300 * 1024**2
    folder = commit(tmp_path / "model", {"model.safetensors": b""})
    os.truncate(folder / "model.safetensors", size)
    write_manifest(folder, files={"model.safetensors": {"size": size, "sha256": "0" * 64}})
    archive = FolderArchive.of(folder)
    tracemalloc.start()
    num_bytes = sum(map(len, archive.pieces(0, archive.num_bytes)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert num_bytes == archive.num_bytes > size
    assert peak < 4 * 1024**2

    def make():
        for _ in archive.pieces(0, archive.num_bytes):
            pass

    def sum_up():
        with (folder / "model.safetensors").open("rb", buffering=0) as file:
            checksum = 0
            while chunk := file.read(CHUNK_BYTES):
                checksum = zlib.crc32(chunk, checksum)

    made_in_s, summed_in_s = (min(timeit.repeat(work, number=1, repeat=3)) for work in (make, sum_up))
    # The bound is loose because the machine that runs the tests does other things too.
    assert made_in_s < 3 * summed_in_s + 0.1
