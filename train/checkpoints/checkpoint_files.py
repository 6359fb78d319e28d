"""Checkpoints that survive any crash: write aside, hash, sync, rename; verify before loading.

Layout below a job's `checkpoints` folder:

    .tmp-<attempt>/checkpoint-<step>/   being written by attempt <attempt>
    .tmp-gone-step-00000110/            being removed
    .old-step-00000120/                 being replaced; comes back if the new one does not
    step-00000120/                      committed: holds manifest.json with the size and sha256 of every file
    bad-step-00000120-<n>/              failed its verification; kept aside, never loaded
"""

import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ftlab.files import sync

MANIFEST = "manifest.json"
_STEP = re.compile(r"step-(\d{8,})")


@dataclass(frozen=True)
class Manifest:
    """What a committed folder holds."""

    job_id: str
    attempt: int
    step: int
    samples: int
    """Training rows consumed so far."""
    metrics: dict[str, float]
    files: dict[str, dict[str, Any]]
    """`{name: {"size": bytes, "sha256": hex}}`; names are relative POSIX paths."""
    versions: dict[str, str]
    committed_at: str
    is_scheduled: bool
    """Whether a run without interruption saves at this step too: only such a checkpoint can be the best one, so that
    an interruption does not change what is delivered."""
    traits: dict[str, Any]
    """What decides the bits of a run that resumes here (`resume_report.Traits`); empty in a delivered model."""

    @property
    def size_bytes(self) -> int:
        return sum(int(entry["size"]) for entry in self.files.values())

    def to_json(self) -> bytes:
        return json.dumps(self.__dict__, indent=1, sort_keys=True).encode()


def step_name(step: int) -> str:
    return f"step-{step:08d}"


def step_of(name: str) -> int | None:
    """The step that the name of a checkpoint tells; `None` for another name."""
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
    traits: dict[str, Any] | None = None,
) -> tuple[Manifest, str]:
    """Turn the written folder `source` into the committed `target`; return its manifest and the manifest's sha256.

    A `target` that an earlier attempt committed at the same step is replaced.
    """
    files = {}
    for file in sorted(path for path in source.rglob("*") if path.is_file()):
        files[file.relative_to(source).as_posix()] = {"size": file.stat().st_size, "sha256": hash_file(file)}
        sync(file)
    manifest = Manifest(
        job_id=job_id,
        attempt=attempt,
        step=step,
        samples=samples,
        metrics=metrics,
        files=files,
        versions=installed_versions(),
        committed_at=datetime.now(UTC).isoformat(),
        is_scheduled=is_scheduled,
        traits=traits or {},
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
    source.rename(target)
    sync(target.parent)
    shutil.rmtree(replaced, ignore_errors=True)
    return manifest, hashlib.sha256(content).hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """Raise `ValueError` that says what is wrong with it. The files are not looked at."""
    try:
        manifest = Manifest(**json.loads((folder / MANIFEST).read_bytes()))
        if not all({"size", "sha256"} <= entry.keys() for entry in manifest.files.values()):
            raise ValueError("an entry is not whole")
    except FileNotFoundError:
        raise ValueError(f"{folder.name} has no manifest") from None
    except (AttributeError, TypeError, ValueError):
        raise ValueError(f"{folder.name} has an unreadable manifest") from None
    return manifest


def verify(folder: Path, names: Iterable[str] | None = None) -> Manifest:
    """Read the manifest and compare the files `names`, by default every one, with it.

    Raises `ValueError` that says what is wrong.
    """
    manifest = read_manifest(folder)
    for name in manifest.files if names is None else names:
        file, entry = folder / name, manifest.files[name]
        if not file.is_file():
            raise ValueError(f"{folder.name}/{name} is missing")
        if file.stat().st_size != entry["size"] or hash_file(file) != entry["sha256"]:
            raise ValueError(f"{folder.name}/{name} does not match its checksum")
    return manifest


def committed(folder: Path) -> list[tuple[int, Path]]:
    """The committed checkpoints below `folder`, oldest first, unverified."""
    if not folder.is_dir():
        return []
    found = [(match, path) for path in folder.iterdir() if (match := _STEP.fullmatch(path.name))]
    return sorted((int(match[1]), path) for match, path in found)


def newest_good(folder: Path) -> tuple[Path | None, Manifest | None, list[str]]:
    """The newest checkpoint that verifies, its manifest, and what was wrong with newer ones, which are set aside."""
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
    """Rename a folder so that nothing takes it for a checkpoint any more."""
    for number in range(1, 1_000_000):
        target = path.with_name(f"bad-{path.name}-{number}")
        if not target.exists():
            path.rename(target)
            return target
    raise AssertionError(path)


def retire(folder: Path, *, keep: int) -> list[int]:
    """Remove checkpoints beyond the `keep` newest and the best one; return the removed steps.

    The newest is never removed: a resume needs it.
    """
    steps = committed(folder)
    best = best_step(folder)
    removed = []
    for step, path in steps[:-keep]:
        if step != best:
            _remove(path)
            removed.append(step)
    return removed


def give_up(folder: Path, *, after: int) -> list[int]:
    """Remove the checkpoints of steps after `after`; return their steps, the newest first.

    They go in that order, so that one that is left by a crash in between is no newer than those that are gone.
    """
    given_up = [(step, path) for step, path in reversed(committed(folder)) if step > after]
    for _, path in given_up:
        _remove(path)
    return [step for step, _ in given_up]


def best_step(folder: Path) -> int | None:
    """The committed step with the lowest eval loss, or `None` where none was measured; the earlier one on a tie."""
    losses = []
    for step, path in committed(folder):
        try:
            manifest = read_manifest(path)
        except ValueError:
            continue  # broken: it is set aside when a resume or the delivery comes to it
        eval_loss = manifest.metrics.get("eval_loss", math.nan)
        if manifest.is_scheduled and math.isfinite(eval_loss):
            losses.append((eval_loss, step))
    return min(losses)[1] if losses else None


def sweep(folder: Path) -> None:
    """Remove what attempts that died in the middle of a write left behind, and undo what they left half done."""
    for path in folder.glob(".old-*"):
        target = path.with_name(path.name.removeprefix(".old-"))
        if target.exists():
            shutil.rmtree(path)
        else:
            path.rename(target)
    for path in folder.glob(".tmp-*"):
        shutil.rmtree(path)


def deliver(checkpoint: Path, target: Path, *, is_wanted: Callable[[str], bool]) -> Manifest:
    """Publish the wanted files of a committed checkpoint as the job's model folder, without copying their bytes.

    Raises `ValueError` that says what is wrong when one of them is broken.
    """
    names = sorted(filter(is_wanted, read_manifest(checkpoint).files))
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


def installed_versions() -> dict[str, str]:
    """Those of the libraries that compute a step."""
    return {name: version(name) for name in ("torch", "transformers", "trl", "peft")}


def hash_file(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _remove(path: Path) -> None:
    """Gone in one moment: half of a checkpoint must not look like one."""
    gone = path.with_name(f".tmp-gone-{path.name}")
    shutil.rmtree(gone, ignore_errors=True)
    path.rename(gone)
    shutil.rmtree(gone)
