"""Checkpoints that survive any crash: write aside, hash, sync, rename; verify before loading.

Layout below a job's `checkpoints` folder:

    .tmp-<attempt>/checkpoint-<step>/   being written by attempt <attempt>
    .tmp-gone-step-00000110/            being removed
    .old-step-00000120/                 being replaced; comes back if the new one does not
    step-00000120/                      committed: holds manifest.json with the size and sha256 of every file
    bad-step-00000120-<n>/              failed its verification; kept aside, never loaded

A file `PINNED` inside a committed one keeps it from being removed here. A process that creates it while the folder is
about to be removed either finds no folder any more, or is noticed: the folder is renamed first, then checked again.
"""

import hashlib
import math
import os
import re
import shutil
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ftlab.files import sha256_of, sync
from ftlab.manifest import MANIFEST, Manifest, ManifestFile, read_manifest

PINNED = "PINNED"
GONE = ".tmp-gone-"
_STEP = re.compile(r"step-(\d{8,})")
_TRAINING_STATE = frozenset({"optimizer.pt", "scheduler.pt", "trainer_state.json", "training_args.bin"})
_RANK_STATE = re.compile(r"rng_state(_[0-9]+)?\.pth|run_state_[0-9]+\.json|answers_[0-9]+\.pt")


def is_training_state(name: str) -> bool:
    """Whether only a resume needs this file of a checkpoint. The others make it usable as a model."""
    return name in _TRAINING_STATE or _RANK_STATE.fullmatch(name) is not None


def step_name(step: int) -> str:
    return f"step-{step:08d}"


def step_of(name: str) -> int | None:
    """The step in the name of a checkpoint; `None` for another name."""
    match = _STEP.fullmatch(name)
    return int(match[1]) if match else None


def commit(
    source: Path,
    target: Path,
    *,
    job_id: str,
    attempt: int,
    step: int,
    samples: int,
    metrics: dict[str, float],
    is_scheduled: bool = True,
    conditions: dict[str, Any] | None = None,
) -> tuple[Manifest, str]:
    """Turn the written folder `source` into the committed `target`; return its manifest and the manifest's sha256.

    A `target` that an earlier attempt committed at the same step is replaced.
    """
    files = {}
    for file in sorted(path for path in source.rglob("*") if path.is_file()):
        name = file.relative_to(source).as_posix()
        files[name] = ManifestFile(size=file.stat().st_size, sha256=sha256_of(file))
        sync(file)
    manifest = Manifest(
        job_id=job_id,
        attempt=attempt,
        step=step,
        samples=samples,
        metrics=metrics,
        files=files,
        versions=installed_versions(),
        committed_at=datetime.now(UTC),
        is_scheduled=is_scheduled,
        conditions=conditions or {},
    )
    content = manifest.to_json()
    (source / MANIFEST).write_bytes(content)
    sync(source / MANIFEST)
    for folder in {path.parent for path in source.rglob("*")}:
        sync(folder)
    replaced = target.with_name(f".old-{target.name}")
    if target.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        target.rename(replaced)
        if is_pinned(replaced):
            (source / PINNED).touch()
    source.rename(target)
    sync(target.parent)
    shutil.rmtree(replaced, ignore_errors=True)
    return manifest, hashlib.sha256(content).hexdigest()


def verify(folder: Path, names: Iterable[str] | None = None) -> Manifest:
    """Read the manifest and compare the files `names`, by default every one, with it.

    Raises `ValueError` that says what is wrong.
    """
    manifest = read_manifest(folder)
    for name in manifest.files if names is None else names:
        file, entry = folder / name, manifest.files[name]
        if not file.is_file():
            raise ValueError(f"{folder.name}/{name} is missing")
        if file.stat().st_size != entry.size or sha256_of(file) != entry.sha256:
            raise ValueError(f"{folder.name}/{name} does not match its checksum")
    return manifest


def committed(folder: Path) -> list[tuple[int, Path]]:
    """The committed checkpoints below `folder`, oldest first, unverified."""
    if not folder.is_dir():
        return []
    found = [(match, path) for path in folder.iterdir() if (match := _STEP.fullmatch(path.name))]
    return sorted((int(match[1]), path) for match, path in found)


def newest_good(folder: Path) -> tuple[Path | None, Manifest | None, list[str]]:
    """The newest checkpoint that verifies, its manifest, and the problems of newer ones, which are set aside."""
    problems: list[str] = []
    for step, path in reversed(committed(folder)):
        try:
            manifest = verify(path)
            if manifest.step != step:
                raise ValueError(f"{path.name} has the manifest of another step")
            return path, manifest, problems
        except ValueError as error:
            problems.append(str(error))
            set_aside(path)
    return None, None, problems


def set_aside(path: Path) -> Path:
    """Rename a folder so that it no longer counts as a checkpoint."""
    for number in range(1, 1_000_000):
        target = path.with_name(f"bad-{path.name}-{number}")
        if not target.exists():
            path.rename(target)
            return target
    raise AssertionError(path)


def retire(folder: Path, *, keep: int) -> list[int]:
    """Remove checkpoints beyond the `keep` newest, the best one and pinned ones; return the removed steps.

    The newest is never removed: a resume needs it.
    """
    steps = committed(folder)
    best = best_step(folder)
    removed = []
    for step, path in steps[:-keep]:
        if step != best and remove_unless_pinned(path):
            removed.append(step)
    return removed


def remove(path: Path) -> None:
    """Remove a checkpoint, pinned or not. Raises `FileNotFoundError` when there is none."""
    shutil.rmtree(_put_aside(path))


def is_pinned(path: Path) -> bool:
    """Whether a checkpoint must not be removed."""
    return (path / PINNED).exists()


def pin(path: Path) -> None:
    """Keep a committed checkpoint until it is unpinned. Raises `FileNotFoundError` when it is gone."""
    (path / PINNED).touch()
    sync(path)


def unpin(path: Path) -> None:
    """Let a checkpoint be removed again."""
    (path / PINNED).unlink(missing_ok=True)


def remove_unless_pinned(path: Path) -> bool:
    """Remove a checkpoint, which another process may pin meanwhile; False when it stays."""
    if is_pinned(path):
        return False
    gone = _put_aside(path)
    if is_pinned(gone):
        gone.rename(path)
        return False
    shutil.rmtree(gone)
    return True


def remove_after(folder: Path, step: int) -> list[int]:
    """Remove the checkpoints of later steps than `step`; return their steps, the newest first.

    They are removed in that order, so that a crash in between leaves none that is newer than a removed one.
    """
    newer = [(number, path) for number, path in reversed(committed(folder)) if number > step]
    for _, path in newer:
        remove(path)
    return [number for number, _ in newer]


def best_step(folder: Path) -> int | None:
    """The committed step with the lowest eval loss, or `None` where none was measured; the earlier one on a tie.

    Only losses count that can be compared with the newest one.
    """
    found = []
    for step, path in committed(folder):
        try:
            manifest = read_manifest(path)
        except ValueError:
            continue  # broken: it is set aside when a resume or the delivery comes to it
        eval_loss = manifest.metrics.get("eval_loss", math.nan)
        if manifest.is_scheduled and math.isfinite(eval_loss):
            found.append((eval_loss, step, evaluation_of(manifest)))
    newest = found[-1][2] if found else None
    losses = [(eval_loss, step) for eval_loss, step, evaluation in found if is_same_evaluation(evaluation, newest)]
    return min(losses)[1] if losses else None


def evaluation_of(manifest: Manifest) -> str | None:
    """Identity of what the eval loss of a checkpoint measures; `None` where it has none, or of an earlier release."""
    found: str | None = manifest.conditions.get("evaluation")
    return found


def is_same_evaluation(one: str | None, other: str | None) -> bool:
    """Whether two eval losses can be compared, as far as is known."""
    return None in (one, other) or one == other


def sweep(folder: Path) -> None:
    """Remove leftovers of attempts that died in the middle of a write, and undo their incomplete changes."""
    for path in folder.glob(".old-*"):
        target = path.with_name(path.name.removeprefix(".old-"))
        if target.exists():
            shutil.rmtree(path)
        else:
            path.rename(target)
    for path in folder.glob(".tmp-*"):
        target = path.with_name(path.name.removeprefix(GONE))
        if path.name.startswith(GONE) and is_pinned(path) and not target.exists():
            path.rename(target)
        else:
            shutil.rmtree(path)


def deliver(checkpoint: Path, target: Path) -> Manifest:
    """Publish the model files of a committed checkpoint as the job's model folder, without copying their bytes.

    Raises `ValueError` that says what is wrong when one of them is broken.
    """
    names = sorted(name for name in read_manifest(checkpoint).files if "/" not in name and not is_training_state(name))
    source = verify(checkpoint, names)
    aside = target.with_name(f".tmp-{target.name}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    for name in names:
        os.link(checkpoint / name, aside / name)
    manifest, _ = commit(
        aside,
        target,
        job_id=source.job_id,
        attempt=source.attempt,
        step=source.step,
        samples=source.samples,
        metrics=source.metrics,
    )
    return manifest


@cache
def installed_versions() -> dict[str, str]:
    """Versions of the libraries that compute a step. Looking them up takes as long as a short save."""
    return {name: version(name) for name in ("torch", "transformers", "trl", "peft")}


def _put_aside(path: Path) -> Path:
    """Rename a checkpoint that is to be removed: half of one must not look like a whole one."""
    gone = path.with_name(f"{GONE}{path.name}")
    shutil.rmtree(gone, ignore_errors=True)
    return path.rename(gone)
