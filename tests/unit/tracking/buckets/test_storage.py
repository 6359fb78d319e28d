"""Every kind of bucket keeps the same promises."""

import logging
import os
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import pytest

from ftlab.errors import InvalidRequestError, NotFoundError, ServiceUnavailableError
from ftlab.settings import Settings
from tests.support.moto_server import CREDENTIALS, SECRET
from tracking.buckets import Buckets, Storage
from tracking.buckets.file_cache import MIN_AGE_S
from tracking.buckets.remote import BLOCK_BYTES, RemoteFolder


def content(storage: Storage, key: str) -> bytes:
    with storage.open(key) as file:
        return file.read()


def test_a_file_comes_back_as_it_was_put(storage: Storage, file: Path) -> None:
    assert storage.size_of("blobs/a") is None
    storage.put("blobs/a", file)
    assert storage.size_of("blobs/a") == 10_000
    assert content(storage, "blobs/a") == file.read_bytes()


def test_a_file_that_goes_in_several_parts_comes_back_whole(storage: Storage, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(bytes(range(256)) * (2 * BLOCK_BYTES // 256) + b"end")
    storage.put("blobs/large", large)
    assert content(storage, "blobs/large") == large.read_bytes()


def test_a_file_is_read_from_any_place(storage: Storage, file: Path) -> None:
    storage.put("blobs/a", file)
    with storage.open("blobs/a") as stream:
        stream.seek(9_995)
        assert stream.read(100) == b"56789"
        stream.seek(3)
        assert stream.read(4) == b"3456"


def test_putting_a_file_again_changes_nothing_and_mends_a_torn_one(
    storage: Storage, file: Path, tmp_path: Path
) -> None:
    torn = tmp_path / "torn"
    torn.write_bytes(b"01")
    for each in (torn, file, file):
        storage.put("blobs/a", each)
    assert content(storage, "blobs/a") == file.read_bytes()


def test_keys_of_one_content_are_found_among_others(storage: Storage, file: Path) -> None:
    assert storage.keys("canonical/ab-") == []
    for key in ("canonical/ab-2.arrow", "canonical/ab-1.arrow", "canonical/abc-1.arrow", "blobs/ab"):
        storage.put(key, file)
    assert storage.keys("canonical/ab-") == ["canonical/ab-1.arrow", "canonical/ab-2.arrow"]


def test_what_is_removed_is_gone_and_may_be_removed_again(storage: Storage, file: Path) -> None:
    storage.put("blobs/a", file)
    storage.remove("blobs/a")
    storage.remove("blobs/a")
    assert storage.size_of("blobs/a") is None
    with pytest.raises(FileNotFoundError):
        storage.open("blobs/a")


def test_a_local_bucket_leaves_nothing_beside_its_files(tmp_path: Path, file: Path) -> None:
    storage = Buckets.open(Settings(home=tmp_path)).storage("training-files")
    assert storage.folder == tmp_path / "buckets" / "training-files"
    for _ in range(2):
        storage.put("blobs/a", file)
    found = {path.relative_to(storage.folder).as_posix() for path in storage.folder.rglob("*") if path.is_file()}
    assert found == {"blobs/a"}


def test_what_a_killed_process_was_writing_is_swept(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    buckets = Buckets.open(Settings(home=tmp_path))
    left = tmp_path / "buckets" / "training-files" / ".incoming" / "half"
    left.parent.mkdir(parents=True)
    left.write_text("half")
    buckets.sweep()
    assert left.exists()
    monkeypatch.setattr("tracking.buckets.folder.STALE_S", -1)
    buckets.sweep()
    assert not left.exists()


def test_a_file_that_goes_while_the_bucket_is_swept_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    buckets = Buckets.open(Settings(home=tmp_path))
    incoming = tmp_path / "buckets" / "training-files" / ".incoming"
    incoming.mkdir(parents=True)
    left = incoming / "left"
    left.write_text("half")
    monkeypatch.setattr("tracking.buckets.folder.STALE_S", -1)
    monkeypatch.setattr(Path, "glob", lambda folder, _: [folder / "gone", folder / "left"])
    buckets.sweep()
    assert not left.exists()


def test_a_local_copy_is_fetched_once(buckets: Buckets, file: Path) -> None:
    buckets.storage("mine").put("canonical/a.arrow", file)
    path = buckets.local_path("mine", "canonical/a.arrow")
    assert path == buckets.cached_path("mine", "canonical/a.arrow")
    assert path.read_bytes() == file.read_bytes()
    if buckets.storage("mine").folder is not None:
        return
    buckets.storage("mine").remove("canonical/a.arrow")
    assert buckets.local_path("mine", "canonical/a.arrow").read_bytes() == file.read_bytes()
    assert [each.name for each in path.parent.iterdir()] == ["a.arrow"]
    buckets.forget("mine", "canonical/a.arrow")
    assert not path.exists()


def test_a_local_copy_is_fetched_once_by_many_at_once(
    buckets: Buckets, storage: Storage, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.put("blobs/a", file)
    opened = []

    def open_slowly(key: str, open_=storage.open) -> BinaryIO:
        opened.append(key)
        time.sleep(0.2)
        return open_(key)

    monkeypatch.setattr(storage, "open", open_slowly)
    with ThreadPoolExecutor(3) as pool:
        paths = list(pool.map(lambda _: buckets.local_path("mine", "blobs/a"), range(3)))
    assert [path.read_bytes() for path in paths] == [file.read_bytes()] * 3
    assert opened == ([] if storage.folder else ["blobs/a"])


def test_a_copy_that_comes_in_parts_only_is_none(buckets: Buckets, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = buckets.storage("mine")
    if storage.folder is not None:
        return
    storage.put("blobs/a", file)
    monkeypatch.setattr(storage, "size_of", lambda key: 10_001)
    with pytest.raises(ServiceUnavailableError, match="10000 of 10001 bytes"):
        buckets.local_path("mine", "blobs/a")
    assert list(buckets.cached_path("mine", "blobs/a").parent.iterdir()) == []


def test_copies_that_were_not_asked_for_lately_make_room(tmp_path: Path, file: Path) -> None:
    buckets = Buckets.open(
        Settings(home=tmp_path, buckets={"mine": f"memory://{tmp_path.name}"}, file_cache_bytes=25_000)
    )
    for name in "abcd":
        buckets.storage("mine").put(name, file)
    hours_ago = time.time() - 2 * MIN_AGE_S
    for age, name in enumerate("abc"):
        path = buckets.local_path("mine", name)
        os.utime(path, (hours_ago - age,) * 2)
    buckets.local_path("mine", "a")
    path = buckets.local_path("mine", "d")
    assert sorted(each.name for each in path.parent.iterdir()) == ["a", "d"]
    assert buckets.local_path("mine", "c").read_bytes() == file.read_bytes()


def test_a_file_that_is_gone_is_said_to_be(buckets: Buckets) -> None:
    with pytest.raises(NotFoundError) as caught:
        buckets.local_path("mine", "blobs/none")
    assert caught.value.code == "dataset_content_missing"


def test_s3_signs_urls_that_anybody_can_read_for_a_while(s3_url: str, file: Path, moto_address: str) -> None:
    storage = RemoteFolder("mine", s3_url)
    storage.put("blobs/a", file)
    url = storage.signed_url("blobs/a", 3600, "t%C3%A4st.jsonl")
    assert url is not None
    assert url.startswith(moto_address)
    assert "X-Amz-Expires=3600&" in url
    with urllib.request.urlopen(url) as reply:
        assert reply.read() == file.read_bytes()
    assert SECRET not in url


def test_other_storages_leave_signing_to_the_service(tmp_path: Path) -> None:
    assert RemoteFolder("mine", "memory://x").signed_url("blobs/a", 3600, "a") is None
    assert Buckets.open(Settings(home=tmp_path)).storage("training-files").signed_url("blobs/a", 3600, "a") is None


@pytest.mark.parametrize("trouble", ["away", "no such bucket", "no credentials"])
def test_a_bucket_that_does_not_work_is_named_without_its_secrets(
    s3_url: str, file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, trouble: str
) -> None:
    url = s3_url
    if trouble == "away":
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    elif trouble == "no such bucket":
        url = "s3://lab-none/folder"
    else:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr("tracking.buckets.remote.OPTIONS", {"s3": {"config_kwargs": {"retries": {"max_attempts": 0}}}})
    with caplog.at_level(logging.INFO), pytest.raises(ServiceUnavailableError, match="Bucket 'mine'") as caught:
        RemoteFolder("mine", url).put("blobs/a", file)
    assert caught.value.code == "bucket_unavailable"
    told = f"{caught.value.message}{caplog.text}"
    assert not any(secret in told for secret in (*CREDENTIALS.values(), url))


def test_a_kind_of_url_without_a_driver_is_refused_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="no driver for nosuch://") as caught:
        Buckets.open(Settings(home=tmp_path, buckets={"mine": "nosuch://x"})).check()
    assert caught.value.param == "buckets"


def test_a_bucket_that_has_left_the_settings_is_named(buckets: Buckets) -> None:
    with pytest.raises(NotFoundError, match="'gone' is not among the settings"):
        buckets.storage("gone")
    with pytest.raises(InvalidRequestError, match="bucket must be one of 'training-files', 'lora-datasets', 'mine'"):
        buckets.check_name("gone")
