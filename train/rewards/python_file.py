"""Rewards from a Python file: the check at submission, and the process that runs the file's function.

The function gets the answers and the reference answers of their rows, and returns one number for each answer:

    def reward(completions: list[str], references: list[str | None]) -> list[float]: ...
"""

import ast
import hashlib
import json
import math
import os
import select
import subprocess
import sys
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from ftlab.errors import InvalidRequestError
from ftlab.schemas.answer_scores import PythonFile

MAX_FILE_BYTES = 1024**2
PythonFileT = TypeVar("PythonFileT", bound=PythonFile)
_SCRIPT = Path(__file__).with_name("file_process.py")


def checked(config: PythonFileT, field: str, allowed: Sequence[Path]) -> PythonFileT:
    """The reward with the hash of its file. The file is parsed, not run.

    Raise `InvalidRequestError` for a file that is not below one of the `allowed` files and folders, that cannot be
    read, that has no such function, or whose hash is not the given one.
    """
    path = Path(os.path.realpath(config.path))
    if not any(path.is_relative_to(root.resolve()) for root in allowed):
        where = "does not allow any" if not allowed else "does not allow this one"
        raise _refused(
            config, field, f"the service {where}; the setting reward_files lists the allowed files and folders"
        )
    source = _source(config, field)
    sha256 = hashlib.sha256(source).hexdigest()
    if config.sha256 not in (None, sha256):
        raise _refused(config, field, f"its content has changed: its SHA-256 is {sha256}, and not that of the config")
    try:
        names = [node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f"line {error.lineno}: {error.msg}" if isinstance(error, SyntaxError) else str(error)
        raise _refused(config, field, line) from None
    if config.function not in names:
        raise _refused(config, field, f"it has no function {config.function!r}; it has: {', '.join(names) or 'none'}")
    return config.model_copy(update={"sha256": sha256})


class FileReward:
    """The reward of a Python file, run in a process of its own. `__name__` is its name in the metrics of TRL."""

    def __init__(self, config: PythonFile, name: str, field: str) -> None:
        """Start the process. Raise `InvalidRequestError` for a file that changed, or that cannot be loaded."""
        self.__name__ = name
        self._config, self._field = config, field
        source = _source(config, field)
        if hashlib.sha256(source).hexdigest() != config.sha256:
            raise _refused(config, field, "its content has changed since the job was submitted")
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # No device: its memory belongs to the training.
            env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "PYTHONHASHSEED": "0"},
        )
        self._end = weakref.finalize(self, _end, self._process)
        self._ask({"path": config.path, "source": source.decode("utf-8"), "function": config.function})

    def __call__(self, *, completions: Sequence[str], reference: Sequence[str | None], **_: Any) -> list[float]:
        """The reward of each answer. Raise `InvalidRequestError` for an error in the file, with its line."""
        reply = self._ask({"completions": list(completions), "references": list(reference)})
        scores: list[float] = reply["scores"]
        if len(scores) != len(completions):
            what = f"{self._config.function} returned {len(scores)} numbers for {len(completions)} answers"
            raise _refused(self._config, self._field, what)
        for number, score in enumerate(scores, 1):
            if not math.isfinite(score):
                what = f"{self._config.function} returned {score} for answer {number} of {len(scores)}"
                raise _refused(self._config, self._field, what)
        return scores

    def _ask(self, document: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(document).encode("ascii") + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None
        reply: dict[str, Any] = json.loads(self._reply())
        if "error" in reply:
            self._end()
            raise _refused(self._config, self._field, reply["error"])
        return reply

    def _reply(self) -> bytes:
        """The next line of the process."""
        assert self._process.stdout is not None
        deadline, received = time.monotonic() + self._config.timeout_s, b""
        while not received.endswith(b"\n"):
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                self._end()
                what = f"it took longer than timeout_s ({self._config.timeout_s:g} s) for one call"
                raise _refused(self._config, self._field, what)
            part = os.read(self._process.stdout.fileno(), 65_536)
            if not part:
                raise self._ended()
            received += part
        return received

    def _ended(self) -> InvalidRequestError:
        self._end()
        return _refused(self._config, self._field, f"its process ended with exit code {self._process.returncode}")


def _source(config: PythonFile, field: str) -> bytes:
    try:
        with Path(config.path).open("rb") as file:
            source = file.read(MAX_FILE_BYTES + 1)
        source.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        what = (error.strerror or str(error)).lower() if isinstance(error, OSError) else "it is not text in UTF-8"
        raise _refused(config, field, f"it cannot be read: {what}") from None
    if len(source) > MAX_FILE_BYTES:
        raise _refused(config, field, f"it has more than {MAX_FILE_BYTES:,} bytes")
    return source


def _refused(config: PythonFile, field: str, what: str) -> InvalidRequestError:
    return InvalidRequestError(f"{field}: Python file {config.path}: {what}.", "invalid_config", f"{field}.path")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):  # for a call that was not sent
                pipe.close()
