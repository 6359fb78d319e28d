"""Rewards from a Python file: which files are allowed, what the function may return, and how its errors read."""

import gc
import hashlib
import os
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from ftlab.errors import InvalidRequestError
from ftlab.schemas import GrpoMethod
from train.rewards import checked_rewards, reward_functions

SOURCE = '''"""Rewards of a test."""
import os

print("loaded")


def reward(completions, references):
    return [len(answer) / 10 + (answer == reference) for answer, reference in zip(completions, references)]


def fails(completions, references):
    return [1 / len(answer) for answer in completions]


def sleeps(completions, references):
    import time

    time.sleep(60)


def of(value):
    return lambda completions, references: value


def dies(completions, references):
    os._exit(3)


def one(completions, references):
    return [1]


def infinite(completions, references):
    return [float("inf")] * len(completions)


def none(completions, references):
    return None


number = 5
'''


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "allowed" / "rewards.py"
    file.parent.mkdir()
    file.write_text(SOURCE)
    return file


def method(file: Path, **settings: Any) -> GrpoMethod:
    reward = {"type": "python_file", "path": str(file)} | settings
    return GrpoMethod.model_validate({"type": "grpo", "rewards": [reward]})


def functions(file: Path, **settings: Any) -> Any:
    return reward_functions(checked_rewards(method(file, **settings), [file.parent]))


def refusal(file: Path, allowed: list[Path], **settings: Any) -> str:
    with pytest.raises(InvalidRequestError) as refused:
        checked_rewards(method(file, **settings), allowed)
    assert (refused.value.code, refused.value.param) == ("invalid_config", "method.rewards.0.path")
    assert refused.value.message.startswith(f"method.rewards.0: Python file {file}: ")
    return refused.value.message


def test_the_function_scores_every_answer(file: Path) -> None:
    [reward] = functions(file)
    assert reward.__name__ == "python_file"
    for _ in range(2):
        scores = reward(completions=["ab", "yes"], completion_ids=[[1], [2]], reference=["x", "yes"], prompts=[])
        assert scores == [0.2, 1.3]


def test_the_check_adds_the_hash_and_runs_nothing(file: Path) -> None:
    file.write_text("raise SystemExit\n" + SOURCE)
    [reward] = checked_rewards(method(file), [file]).rewards
    assert reward.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()  # type: ignore[union-attr]


def test_only_allowed_files_are_read(file: Path, tmp_path: Path) -> None:
    other, link = tmp_path / "other.py", file.parent / "link.py"
    other.write_text(SOURCE)
    link.symlink_to(other)
    assert "does not allow any; the setting reward_files lists" in refusal(file, [])
    for outside in (other, link, Path(f"{file.parent}/../other.py"), tmp_path / "allowed-not.py", tmp_path / "none.py"):
        assert "does not allow this one" in refusal(outside, [file.parent])


@pytest.mark.parametrize(
    ("source", "settings", "message"),
    [
        (b"x = (\n", {}, "line 1: '(' was never closed."),
        (b"def other(a, b): pass\n", {}, "it has no function 'reward'; it has: other."),
        (SOURCE.encode(), {"function": "number"}, "it has no function 'number'; it has: reward, fails,"),
        (SOURCE.encode(), {"sha256": "0" * 64}, "its content has changed: its SHA-256 is "),
        (b"\xff\xfe", {}, "it cannot be read: it is not text in UTF-8."),
        (b"x = '\0'\n", {}, ""),
        (b"#" * (1024**2 + 1), {}, "it has more than 1,048,576 bytes."),
    ],
)
def test_what_cannot_work_is_refused(file: Path, source: bytes, settings: dict[str, Any], message: str) -> None:
    file.write_bytes(source)
    assert message in refusal(file, [file.parent], **settings)


def test_a_file_that_is_not_there_is_refused(file: Path) -> None:
    assert "cannot be read: no such file or directory." in refusal(file.with_name("none.py"), [file.parent])
    assert "cannot be read: is a directory." in refusal(file.parent, [file.parent])


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("fails", "line 12: ZeroDivisionError: division by zero."),
        ("dies", "its process ended with exit code 3."),
        ("one", "one returned 1 numbers for 2 answers."),
        ("infinite", "infinite returned inf for answer 1 of 2."),
        ("none", "TypeError: 'NoneType' object is not iterable."),
        ("of", "TypeError: of() got an unexpected keyword argument 'completions'."),
    ],
)
def test_an_error_names_the_file_and_the_line(file: Path, function: str, message: str) -> None:
    [reward] = functions(file, function=function)
    with pytest.raises(InvalidRequestError) as raised:
        reward(completions=["", "a"], completion_ids=[[], []], reference=[None, None])
    assert raised.value.message == f"method.rewards.0: Python file {file}: {message}"


def test_a_call_that_takes_too_long_is_ended(file: Path) -> None:
    [reward] = functions(file, function="sleeps", timeout_s=0.5)
    began = time.monotonic()
    with pytest.raises(InvalidRequestError, match=r"it took longer than timeout_s \(0\.5 s\) for one call\.$"):
        reward(completions=["a"], completion_ids=[[]], reference=[None])
    assert time.monotonic() - began < 10


def test_a_file_that_fails_to_load_or_changed_ends_the_job(file: Path) -> None:
    settled = checked_rewards(method(file), [file])
    file.write_text(SOURCE + "\n")
    with pytest.raises(InvalidRequestError, match="its content has changed since the job was submitted"):
        reward_functions(settled)
    file.write_text("def reward(): pass\nimport not_there\n")
    with pytest.raises(InvalidRequestError, match=r"line 2: ModuleNotFoundError: No module named"):
        reward_functions(checked_rewards(method(file), [file]))


def test_the_process_ends_with_its_owner(file: Path) -> None:
    def children() -> list[psutil.Process]:
        return [each for each in psutil.Process().children() if "file_process.py" in " ".join(each.cmdline())]

    before = len(children())
    [reward] = functions(file)
    assert len(children()) == before + 1
    assert os.path.exists(file)
    del reward
    gc.collect()
    assert len(children()) == before
