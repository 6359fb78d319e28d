"""Making the Python environment of vLLM: resolve, measure, install, check, record."""

import fcntl
import json
import os
import secrets
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ftlab.errors import ServiceUnavailableError
from ftlab.vllm_environment import REQUIREMENT, VllmEnvironment, record_vllm

SIZE_TIMEOUT_S = 10.0
SHOWN_LINES = 5
DESCRIBE = """
import importlib.metadata, json
from vllm.model_executor.models import ModelRegistry
version = importlib.metadata.version("vllm")
print(json.dumps({"version": version, "architectures": sorted(ModelRegistry.get_supported_archs())}))
"""


@dataclass(frozen=True)
class Download:
    """What pip would install."""

    version: str
    """Version of vLLM."""
    num_packages: int
    size_bytes: int
    """Bytes of the files whose servers report their size."""
    num_unknown: int
    """Files whose size is not known."""


@contextmanager
def new_environment(folder: Path) -> Iterator[Path]:
    """An empty environment below `folder`, which is removed after an error; one process at a time makes one.

    Raise `ServiceUnavailableError` (`install_failed`) where another process does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "install.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ServiceUnavailableError(
                f"Another 'ftlab inference install' works in {folder}; wait until it has ended.", "install_failed"
            ) from None
        target = folder / f"vllm-{secrets.token_hex(4)}"
        try:
            bare = ("--without-pip",) if find_spec("pip") else ()
            _run([sys.executable, "-m", "venv", *bare, target], "Python could not make an environment")
            yield target
        except BaseException:
            shutil.rmtree(target, ignore_errors=True)
            raise


def plan_download(target: Path) -> Download:
    """Resolve the packages for an empty environment. Raises `ServiceUnavailableError` with what pip says."""
    report = _pip(target, "install", "--dry-run", "--quiet", "--report", "-", REQUIREMENT)
    packages: list[dict[str, Any]] = json.loads(report)["install"]
    with ThreadPoolExecutor(8) as pool:
        sizes = list(pool.map(_size_of, [package["download_info"]["url"] for package in packages]))
    [version] = [package["metadata"]["version"] for package in packages if package["metadata"]["name"] == "vllm"]
    known = [size for size in sizes if size is not None]
    return Download(version, len(packages), sum(known), len(sizes) - len(known))


def install(target: Path) -> VllmEnvironment:
    """Install vLLM in an empty environment, which is then the one in use; older ones beside it are removed.

    Raise `ServiceUnavailableError` with the last lines of what failed; the environment before stays then.
    """
    _pip(target, "install", "--quiet", REQUIREMENT)
    described = _run([target / "bin" / "python", "-I", "-c", DESCRIBE], "vLLM does not start")
    found = json.loads(described.splitlines()[-1])
    size = sum(file.lstat().st_size for file in target.rglob("*"))
    now = datetime.now(UTC).isoformat(timespec="seconds")
    environment = VllmEnvironment(target, found["version"], size, now, tuple(found["architectures"]))
    record_vllm(target.parent, environment)
    for other in target.parent.glob("vllm-*"):
        if other != target:
            shutil.rmtree(other, ignore_errors=True)
    return environment


def _pip(target: Path, *arguments: str) -> str:
    """The output of pip for an environment: of the pip beside this program, or else of its own."""
    python = target / "bin" / "python"
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--python", python]
    if find_spec("pip") is None:
        pip = [python, "-m", "pip"]
    return _run([*pip, *arguments, "--disable-pip-version-check", "--no-input"], "pip failed")


def _run(command: Sequence[str | Path], what_failed: str) -> str:
    """The standard output of a command."""
    # The packages of this environment must not be found by that one.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, command)), env=env, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-SHOWN_LINES:])
        raise ServiceUnavailableError(f"{what_failed} (exit code {done.returncode}):\n{said}", "install_failed")
    return done.stdout


def _size_of(url: str) -> int | None:
    """The bytes of a file, as its server reports them."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=SIZE_TIMEOUT_S) as reply:
            return int(reply.headers["content-length"])
    except (OSError, TypeError, ValueError):
        return None
