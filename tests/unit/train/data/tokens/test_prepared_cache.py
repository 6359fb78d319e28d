"""The cache of prepared data: made once, whole or not there, and nobody loses what they use."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from train.data.tokens import prepared_cache
from train.data.tokens.prepared_cache import MANIFEST, PreparedCache

MAKER = """
import sys, time
from pathlib import Path
from train.data.tokens.prepared_cache import PreparedCache

def build(folder):
    (folder / "data").write_bytes(b"half")
    print("building", flush=True)
    time.sleep(60)

PreparedCache(Path(sys.argv[1])).get("a", build)
"""


class Builder:
    """Writes so many bytes, and counts how often it is called."""

    def __init__(self, size: int = 100) -> None:
        self.size = size
        self.calls = 0

    def __call__(self, folder: Path) -> dict[str, Any]:
        self.calls += 1
        (folder / "data").write_bytes(b"x" * self.size)
        return {"size": self.size}


@pytest.fixture
def cache(tmp_path: Path) -> PreparedCache:
    return PreparedCache(tmp_path / "prepared")


def add(cache: PreparedCache, key: str, *, used_at: float = 0.0, size: int = 100) -> None:
    cache.get(key, Builder(size)).close()
    os.utime(cache._lock_file(key), (used_at, used_at))


def keys(cache: PreparedCache) -> list[str]:
    return sorted(path.name for path in cache._folder.iterdir() if path.is_dir())


def test_an_entry_is_made_once(cache: PreparedCache):
    build = Builder()
    first, second = cache.get("a", build), cache.get("a", build)
    assert build.calls == 1
    assert first.folder == second.folder
    assert (second.folder / "data").read_bytes() == b"x" * 100
    assert second.manifest["size"] == 100


def test_two_makers_of_one_key_do_it_once(cache: PreparedCache, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(prepared_cache, "POLL_S", 0.001)
    started, go_on = threading.Event(), threading.Event()
    waited = threading.Event()

    def slow(folder: Path) -> dict[str, Any]:
        started.set()
        assert go_on.wait(10)
        return {}

    maker = threading.Thread(target=cache.get, args=("a", slow))
    maker.start()
    assert started.wait(10)

    def on_wait() -> None:
        waited.set()
        go_on.set()

    other = Builder()
    cache.get("a", other, on_wait)
    maker.join(10)
    assert waited.is_set()
    assert other.calls == 0


def test_whoever_waits_may_leave(cache: PreparedCache):
    class StopError(Exception):
        pass

    def on_wait() -> None:
        raise StopError

    started, go_on = threading.Event(), threading.Event()

    def slow(folder: Path) -> dict[str, Any]:
        started.set()
        assert go_on.wait(10)
        return {}

    maker = threading.Thread(target=cache.get, args=("a", slow))
    maker.start()
    assert started.wait(10)
    with pytest.raises(StopError):
        cache.get("a", Builder(), on_wait)
    go_on.set()
    maker.join(10)


def test_what_fails_leaves_nothing_behind(cache: PreparedCache):
    def broken(folder: Path) -> dict[str, Any]:
        (folder / "data").write_bytes(b"half")
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        cache.get("a", broken)
    assert list(cache._folder.iterdir()) == []


def test_a_maker_that_is_killed_is_taken_over_from(cache: PreparedCache):
    maker = subprocess.Popen([sys.executable, "-c", MAKER, str(cache._folder)], stdout=subprocess.PIPE)
    assert maker.stdout is not None
    assert maker.stdout.readline() == b"building\n"
    maker.send_signal(signal.SIGKILL)
    maker.communicate()
    build = Builder()
    assert (cache.get("a", build).folder / "data").stat().st_size == 100
    assert build.calls == 1
    assert keys(cache) == ["a"]


@pytest.mark.parametrize("file", ["data", MANIFEST])
@pytest.mark.parametrize("is_cut", [True, False])
def test_a_damaged_entry_is_made_again(cache: PreparedCache, file: str, is_cut: bool):
    build = Builder()
    entry = cache.get("a", build)
    entry.close()
    if is_cut:
        (entry.folder / file).write_bytes((entry.folder / file).read_bytes()[:-1])
    else:
        (entry.folder / file).unlink()
    assert (cache.get("a", build).folder / "data").stat().st_size == 100
    assert build.calls == 2


def test_the_least_recently_used_goes_first(cache: PreparedCache):
    for number, key in enumerate("abcd"):
        add(cache, key, used_at=number)
    cache.get("a", Builder()).close()
    size = cache._size("b")
    assert cache.evict(2 * size) == ["b", "c"]
    assert keys(cache) == ["a", "d"]
    assert cache.evict(2 * size) == []


def test_what_is_in_use_stays(cache: PreparedCache):
    add(cache, "a", used_at=1)
    add(cache, "b", used_at=2)
    used = cache.find("a")
    assert used is not None
    os.utime(cache._lock_file("a"), (0, 0))
    assert cache.evict(0) == ["b"]
    assert keys(cache) == ["a"]
    used.close()
    assert cache.evict(0) == ["a"]
    assert list(cache._folder.iterdir()) == []


def test_use_in_another_process_counts_until_it_dies(cache: PreparedCache):
    add(cache, "a")
    code = (
        "import sys, time; from pathlib import Path; from train.data.tokens.prepared_cache import PreparedCache;"
        "entry = PreparedCache(Path(sys.argv[1])).find('a'); print(entry is not None, flush=True); time.sleep(60)"
    )
    user = subprocess.Popen([sys.executable, "-c", code, str(cache._folder)], stdout=subprocess.PIPE)
    assert user.stdout is not None
    assert user.stdout.readline() == b"True\n"
    assert cache.evict(0) == []
    user.kill()
    user.communicate()
    assert cache.evict(0) == ["a"]


def test_what_a_killed_maker_left_is_evicted(cache: PreparedCache):
    (cache._folder / ".tmp-a").mkdir(parents=True)
    (cache._folder / "a.lock").touch()
    add(cache, "b", used_at=time.time())
    assert cache.evict(10**9) == ["a"]
    assert keys(cache) == ["b"]


@pytest.mark.parametrize("moment", ["stat", "glob"])
def test_an_entry_that_another_one_evicts_meanwhile_is_nothing_to_fail_at(
    cache: PreparedCache, moment: str, monkeypatch: pytest.MonkeyPatch
):
    add(cache, "a", used_at=1)
    add(cache, "b", used_at=2)
    original = getattr(Path, moment)

    def vanishing(path: Path, *arguments: Any, **options: Any) -> Any:
        if path == cache._folder / "a" or path.parent == cache._folder / "a":
            raise FileNotFoundError(path)
        return original(path, *arguments, **options)

    monkeypatch.setattr(Path, moment, vanishing)
    cache.evict(10**9)
    assert "b" in keys(cache)
