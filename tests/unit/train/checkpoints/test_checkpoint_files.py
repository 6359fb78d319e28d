"""Checkpoints: committed whole or not at all, verified before use, never all lost at once."""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from train.checkpoints import checkpoint_files
from train.checkpoints.checkpoint_files import (
    MANIFEST,
    Manifest,
    best_step,
    committed,
    deliver,
    newest_good,
    retire,
    sweep,
    verify,
)

FILES = {"adapter_model.safetensors": b"weights" * 100, "optimizer.pt": b"state", "nested/rng_state.pth": b"random"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The job's `checkpoints` folder."""
    path = tmp_path / "checkpoints"
    path.mkdir()
    return path


def write(folder: Path, step: int, *, attempt: int = 1, files: dict[str, bytes] = FILES) -> Path:
    """What the trainer leaves before the commit."""
    source = folder / f".tmp-{attempt}" / f"checkpoint-{step}"
    for name, content in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(content)
    return source


def commit(
    folder: Path,
    step: int,
    *,
    eval_loss: float | None = None,
    attempt: int = 1,
    files: dict[str, bytes] = FILES,
    evaluation: str | None = None,
) -> tuple[Manifest, str]:
    return checkpoint_files.commit(
        write(folder, step, attempt=attempt, files=files),
        folder / checkpoint_files.step_name(step),
        job_id="job-1",
        attempt=attempt,
        step=step,
        samples=step * 4,
        metrics={} if eval_loss is None else {"eval_loss": eval_loss},
        conditions=None if evaluation is None else {"evaluation": evaluation},
    )


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_commit_says_what_it_holds(folder: Path):
    manifest, digest = commit(folder, 120, eval_loss=0.5)
    path = folder / "step-00000120"
    assert verify(path) == manifest
    assert digest == hashlib.sha256((path / MANIFEST).read_bytes()).hexdigest()
    assert (manifest.job_id, manifest.attempt, manifest.step, manifest.samples) == ("job-1", 1, 120, 480)
    assert manifest.metrics == {"eval_loss": 0.5}
    assert set(manifest.files) == set(FILES)
    assert manifest.size_bytes == sum(map(len, FILES.values()))
    assert set(manifest.versions) == {"torch", "transformers", "trl", "peft"}
    assert {name: (path / name).read_bytes() for name in FILES} == FILES


def test_steps_are_in_order_also_above_eight_digits(folder: Path):
    for step in (5, 99_999_999, 100_000_000, 20):
        commit(folder, step)
    assert [step for step, _ in committed(folder)] == [5, 20, 99_999_999, 100_000_000]


def test_nothing_is_committed_in_a_folder_that_is_not_there(tmp_path: Path):
    assert committed(tmp_path / "none") == []
    assert newest_good(tmp_path / "none") == (None, None, [])
    assert best_step(tmp_path / "none") is None


def remove(file: Path) -> None:
    file.unlink()


def change_a_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[0] ^= 1
    file.write_bytes(content)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def empty(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
@pytest.mark.parametrize("harm", [remove, change_a_byte, cut, empty])
def test_a_broken_newest_checkpoint_is_set_aside_and_the_one_before_is_used(
    folder: Path, name: str, harm: Callable[[Path], None]
):
    commit(folder, 10)
    commit(folder, 20)
    harm(folder / "step-00000020" / name)
    path, manifest, problems = newest_good(folder)
    assert path == folder / "step-00000010"
    assert manifest is not None
    assert manifest.step == 10
    assert len(problems) == 1
    assert problems[0].startswith("step-00000020")
    assert names(folder) == [".tmp-1", "bad-step-00000020-1", "step-00000010"]


def test_a_checkpoint_that_is_gone_altogether_leaves_the_one_before(folder: Path):
    commit(folder, 10)
    commit(folder, 20)
    shutil.rmtree(folder / "step-00000020")
    assert newest_good(folder)[0] == folder / "step-00000010"


def test_when_all_are_broken_all_are_named(folder: Path):
    for step in (10, 20):
        commit(folder, step)
        change_a_byte(folder / checkpoint_files.step_name(step) / "optimizer.pt")
    path, manifest, problems = newest_good(folder)
    assert (path, manifest) == (None, None)
    damaged = [checkpoint_files.step_name(step) for step in (20, 10)]
    assert problems == [f"{name}/optimizer.pt does not match its checksum" for name in damaged]
    commit(folder, 20)
    change_a_byte(folder / "step-00000020" / "optimizer.pt")
    newest_good(folder)
    assert "bad-step-00000020-2" in names(folder)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), name=st.sampled_from([*FILES, MANIFEST]))
def test_no_flipped_bit_brings_a_resume_down(folder: Path, place: float, bit: int, name: str):
    shutil.rmtree(folder)
    folder.mkdir()
    commit(folder, 10)
    commit(folder, 20)
    file = folder / "step-00000020" / name
    content = bytearray(file.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    file.write_bytes(content)
    path, _, problems = newest_good(folder)
    assert path is not None
    if name != MANIFEST:
        assert (path.name, len(problems)) == ("step-00000010", 1)


@pytest.mark.parametrize(
    "document",
    [
        b"[]",
        b"null",
        b"{}",
        b'{"files": null}',
        pytest.param(None, id="files are no table"),
    ],
)
def test_a_manifest_of_another_shape_is_refused(folder: Path, document: bytes | None):
    manifest, _ = commit(folder, 10)
    document = document or json.dumps(manifest.model_dump(mode="json") | {"files": [1, 2]}).encode()
    (folder / "step-00000010" / MANIFEST).write_bytes(document)
    with pytest.raises(ValueError, match="unreadable manifest"):
        verify(folder / "step-00000010")


def test_a_manifest_entry_without_its_checksum_is_refused(folder: Path):
    manifest, _ = commit(folder, 10)
    document = manifest.model_dump(mode="json") | {"files": {"optimizer.pt": {"size": 5}}}
    (folder / "step-00000010" / MANIFEST).write_text(json.dumps(document))
    with pytest.raises(ValueError, match="unreadable manifest"):
        verify(folder / "step-00000010")


def test_a_manifest_of_another_step_is_refused_on_resume(folder: Path):
    commit(folder, 10)
    commit(folder, 20)
    shutil.copy(folder / "step-00000010" / MANIFEST, folder / "step-00000020" / MANIFEST)
    path, _, problems = newest_good(folder)
    assert path == folder / "step-00000010"
    assert problems == ["step-00000020 has the manifest of another step"]


def test_the_same_step_again_replaces_what_was_there(folder: Path):
    commit(folder, 10, eval_loss=0.5)
    commit(folder, 10, eval_loss=0.3, attempt=2, files={"adapter_model.safetensors": b"new"})
    manifest = verify(folder / "step-00000010")
    assert (manifest.attempt, manifest.metrics, set(manifest.files)) == (
        2,
        {"eval_loss": 0.3},
        {"adapter_model.safetensors"},
    )
    sweep(folder)
    assert names(folder) == ["step-00000010"]


class Killed(BaseException):
    """The process ends here: nothing after it happens."""


@pytest.fixture
def killed_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int | None], list[str]]]:
    """Count the calls that change the disk, and let the process end before number `limit`."""
    calls: list[str] = []
    limits: list[int | None] = [None]

    def counted(owner: object, name: str) -> None:
        original = getattr(owner, name)

        def call(*args: object, **kwargs: object) -> object:
            if limits[0] is not None and len(calls) >= limits[0]:
                raise Killed
            calls.append(name)
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, call)

    counted(Path, "rename")
    counted(Path, "write_bytes")
    counted(Path, "mkdir")
    counted(os, "fsync")
    counted(os, "link")
    counted(os, "unlink")
    counted(os, "rmdir")

    def set_limit(limit: int | None) -> list[str]:
        limits[0] = limit
        calls.clear()
        return calls

    yield set_limit
    limits[0] = None


KillAt = Callable[[int | None], list[str]]


def run_killed(action: Callable[[], object], killed_at: KillAt, limit: int) -> bool:
    killed_at(limit)
    try:
        action()
    except Killed:
        return True
    finally:
        killed_at(None)
    return False


@pytest.mark.parametrize("is_replaced", [False, True], ids=["new step", "step again"])
@pytest.mark.parametrize("keep", [1, 2])
def test_a_crash_at_any_moment_of_a_commit_leaves_a_usable_checkpoint(
    tmp_path: Path, killed_at: KillAt, is_replaced: bool, keep: int
):
    limit, was_killed = 0, True
    while was_killed:
        folder = tmp_path / str(limit)
        folder.mkdir()
        for step in (10, 20) if keep == 2 else (20,):
            commit(folder, step, eval_loss=1 / step)
        source = write(folder, 20 if is_replaced else 30, attempt=2)
        step = int(source.name.removeprefix("checkpoint-"))

        def commit_and_retire(source: Path = source, folder: Path = folder, step: int = step) -> None:
            checkpoint_files.commit(
                source,
                folder / checkpoint_files.step_name(step),
                job_id="job-1",
                attempt=2,
                step=step,
                samples=0,
                metrics={"eval_loss": 1 / step},
            )
            retire(folder, keep=keep)

        was_killed = run_killed(commit_and_retire, killed_at, limit)
        sweep(folder)
        path, manifest, problems = newest_good(folder)
        assert path is not None, f"nothing is left after a crash before call {limit}"
        assert manifest is not None
        assert manifest.step >= 20
        assert problems == []
        # The next attempt commits, retires and delivers over what was left behind.
        commit(folder, 40, eval_loss=1 / 40, attempt=3)
        retire(folder, keep=keep)
        assert best_step(folder) == 40
        assert not [name for name in names(folder) if name.startswith("bad-")]
        limit += 1
    assert limit > 5


def test_a_crash_at_any_moment_of_the_delivery_is_made_good_by_the_next(tmp_path: Path, killed_at: KillAt):
    limit, was_killed = 0, True
    while was_killed:
        folder, model = tmp_path / str(limit) / "checkpoints", tmp_path / str(limit) / "model"
        folder.mkdir(parents=True)
        commit(folder, 10)
        deliver(folder / "step-00000010", model)
        commit(folder, 20)

        def again(folder: Path = folder, model: Path = model) -> None:
            deliver(folder / "step-00000020", model)

        was_killed = run_killed(again, killed_at, limit)
        again()
        assert verify(model).step == 20
        assert names(tmp_path / str(limit)) == ["checkpoints", "model"]
        limit += 1
    assert limit > 5


def test_the_delivered_model_holds_the_wanted_files_without_copies(folder: Path, tmp_path: Path):
    commit(folder, 10, eval_loss=0.4)
    model = tmp_path / "model"
    manifest = deliver(folder / "step-00000010", model)
    assert names(model) == ["adapter_model.safetensors", MANIFEST]
    assert verify(model) == manifest
    assert (manifest.step, manifest.metrics) == (10, {"eval_loss": 0.4})
    weights = "adapter_model.safetensors"
    assert (model / weights).samefile(folder / "step-00000010" / weights)
    shutil.rmtree(folder)
    assert verify(model).step == 10


def test_a_broken_checkpoint_is_never_delivered(folder: Path, tmp_path: Path):
    commit(folder, 10)
    change_a_byte(folder / "step-00000010" / "adapter_model.safetensors")
    with pytest.raises(ValueError, match="does not match its checksum"):
        deliver(folder / "step-00000010", tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_the_best_checkpoint_has_the_lowest_eval_loss(folder: Path):
    assert best_step(folder) is None
    commit(folder, 10)
    assert best_step(folder) is None
    for step, eval_loss in ((20, 0.5), (30, 0.3), (40, 0.3), (50, 0.4)):
        commit(folder, step, eval_loss=eval_loss)
    assert best_step(folder) == 30


def test_losses_of_another_evaluation_are_not_compared_with_the_newest(folder: Path):
    commit(folder, 10, eval_loss=0.1, evaluation="long rows")
    commit(folder, 20, eval_loss=0.5, evaluation="short rows")
    commit(folder, 30, eval_loss=0.6, evaluation="short rows")
    assert best_step(folder) == 20
    commit(folder, 40, eval_loss=0.7)  # an earlier release did not write down what it measured
    assert best_step(folder) == 10


def test_an_eval_loss_that_is_no_number_is_never_the_best(folder: Path):
    commit(folder, 10, eval_loss=math.nan)
    commit(folder, 20, eval_loss=0.5)
    commit(folder, 30, eval_loss=math.nan)
    assert best_step(folder) == 20


def test_a_folder_without_manifest_does_not_disturb_the_others(folder: Path):
    """Half of a checkpoint that was being removed when the process was killed."""
    commit(folder, 10, eval_loss=0.1)
    commit(folder, 20, eval_loss=0.5)
    (folder / "step-00000010" / MANIFEST).unlink()
    assert best_step(folder) == 20
    assert retire(folder, keep=1) == [10]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    losses=st.lists(st.none() | st.floats(0.1, 1), min_size=1, max_size=8),
    keep=st.integers(1, 4),
)
def test_the_newest_and_the_best_are_kept(folder: Path, losses: list[float | None], keep: int):
    shutil.rmtree(folder)
    folder.mkdir()
    for number, eval_loss in enumerate(losses, start=1):
        commit(folder, number * 10, eval_loss=eval_loss, files={"a": b"b"})
    best = best_step(folder)
    steps = [step for step, _ in committed(folder)]
    removed = retire(folder, keep=keep)
    left = [step for step, _ in committed(folder)]
    assert sorted(left + removed) == steps
    assert set(left) == set(steps[-keep:]) | ({best} - {None})
    assert best_step(folder) == best
    assert retire(folder, keep=keep) == []
    sweep(folder)
    assert names(folder) == [checkpoint_files.step_name(step) for step in left]


def test_sweeping_leaves_checkpoints_alone(folder: Path):
    commit(folder, 10)
    write(folder, 20, attempt=2)
    sweep(folder)
    assert names(folder) == ["step-00000010"]


def test_a_pinned_checkpoint_is_not_retired_and_can_be_released(folder: Path):
    for step in (1, 2, 3, 4):
        commit(folder, step)
    checkpoint_files.pin(folder / "step-00000001")
    assert retire(folder, keep=1) == [2, 3]
    assert verify(folder / "step-00000001").step == 1
    checkpoint_files.unpin(folder / "step-00000001")
    checkpoint_files.unpin(folder / "step-00000001")
    assert retire(folder, keep=1) == [1]
    with pytest.raises(FileNotFoundError):
        checkpoint_files.pin(folder / "step-00000001")


def test_a_checkpoint_that_is_committed_again_keeps_its_pin(folder: Path):
    commit(folder, 1)
    checkpoint_files.pin(folder / "step-00000001")
    commit(folder, 1, attempt=2)
    assert checkpoint_files.is_pinned(folder / "step-00000001")
    assert verify(folder / "step-00000001").attempt == 2


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_pin_in_the_last_moment_counts(folder: Path, monkeypatch: pytest.MonkeyPatch, is_killed: bool):
    """The API pins after the run has looked and before it renames; the run may be killed right after that."""
    commit(folder, 1)
    commit(folder, 2)
    put_aside = checkpoint_files._put_aside

    def pin_first(path: Path) -> Path:
        checkpoint_files.pin(path)
        gone = put_aside(path)
        if is_killed:
            raise SystemExit
        return gone

    monkeypatch.setattr(checkpoint_files, "_put_aside", pin_first)
    if is_killed:
        with pytest.raises(SystemExit):
            retire(folder, keep=1)
        sweep(folder)
    else:
        assert retire(folder, keep=1) == []
    assert [step for step, _ in committed(folder)] == [1, 2]
    assert checkpoint_files.is_pinned(folder / "step-00000001")
