"""Resume of an attempt: from the newest intact checkpoint, or a named one; and the events that were lost before it."""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path

from ftlab.errors import FineTuneLabError
from ftlab.manifest import MANIFEST, Manifest, read_manifest
from ftlab.schemas import CheckpointPayload, MetricsPayload, NoticePayload
from train.all_ranks import barrier
from train.checkpoints import checkpoint_files
from train.plan import RunLink, TrainingPlan
from train.reporting.run_metrics import series_of


def find_checkpoint(plan: TrainingPlan, link: RunLink | None) -> tuple[Path, Manifest] | None:
    """Find the checkpoint to resume from; `None` at the beginning.

    Rank 0, the one with a link, sets broken checkpoints aside and removes those after the one that the plan names; the
    other ranks then see the remaining ones. Raises `FineTuneLabError` with code `checkpoint_corrupt` when the named one
    cannot be used.
    """
    if link is None:
        barrier()
        saved = checkpoint_files.committed(plan.checkpoints_folder)
        return (saved[-1][1], read_manifest(saved[-1][1])) if saved else None
    plan.checkpoints_folder.mkdir(parents=True, exist_ok=True)
    checkpoint_files.sweep(plan.checkpoints_folder)
    path: Path | None
    manifest: Manifest | None
    if plan.resume_from is not None:
        path, manifest = _chosen(plan, plan.resume_from, link)
        problems: list[str] = []
    else:
        path, manifest, problems = checkpoint_files.newest_good(plan.checkpoints_folder)
    # A resume on a full disk may have a lower limit than the attempt before, and the next checkpoint needs the space.
    checkpoint_files.retire(plan.checkpoints_folder, keep=plan.config.training.save_total_limit)
    barrier()
    for problem in problems:
        report_set_aside(link, problem)
    if path is None or manifest is None:
        return None
    _report_unrecorded(plan, path, manifest, link)
    message = f"Resuming from step {manifest.step}."
    link.emit(NoticePayload(code="resuming", message=message, step=manifest.step, samples=manifest.samples))
    return path, manifest


def is_evaluation_overdue(plan: TrainingPlan, checkpoint: Path, last_step: int) -> bool:
    """Whether the attempt that wrote `checkpoint` was stopped before it could evaluate what it had trained."""
    state = json.loads((checkpoint / "trainer_state.json").read_text("utf-8"))
    step, eval_steps = state["global_step"], plan.config.training.eval_steps
    is_due = step >= last_step or (eval_steps is not None and step % eval_steps == 0)
    return is_due and not any("eval_loss" in entry and entry["step"] == step for entry in state["log_history"])


def _chosen(plan: TrainingPlan, name: str, link: RunLink) -> tuple[Path, Manifest]:
    """The checkpoint `name`, made the newest one. Safe to repeat after a crash in between."""
    step = checkpoint_files.step_of(name)
    if step is None:
        raise _unusable(name, "is not the name of a checkpoint")
    path = plan.checkpoints_folder / name
    if not path.is_dir():
        raise _unusable(name, "is not among the job's checkpoints")
    try:
        manifest = checkpoint_files.verify(path)
    except ValueError as error:
        raise _unusable(name, f"is damaged ({error})") from error
    if manifest.job_id != plan.job_id:
        raise _unusable(name, "belongs to another job")
    if manifest.step != step:
        raise _unusable(name, "has the manifest of another step")
    _remove_newer(plan, step, link)
    return path, manifest


def _remove_newer(plan: TrainingPlan, step: int, link: RunLink) -> None:
    """Remove the checkpoints after `step`, so that a later crash does not jump ahead to one of them."""
    removed_now = checkpoint_files.remove_after(plan.checkpoints_folder, step)
    recorded = [newer for newer in plan.recorded_checkpoints if newer > step]
    removed = sorted({*recorded, *removed_now})
    if not removed:
        return
    names = ", ".join(checkpoint_files.step_name(newer) for newer in removed)
    message = f"Resuming from step {step}, as requested. Newer checkpoints were removed: {names}."
    link.emit(NoticePayload(code="checkpoints_given_up", message=message, step=step, removed_steps=removed))
    best = checkpoint_files.best_step(plan.checkpoints_folder)
    if best not in (None, step):
        # The best one so far may have been among the removed.
        path = plan.checkpoints_folder / checkpoint_files.step_name(best)
        link.emit(checkpoint_payload(path, read_manifest(path), []))


def _unusable(name: str, why: str) -> FineTuneLabError:
    return FineTuneLabError(
        f"The checkpoint {name} {why}, so the job cannot resume from it. Resume from another checkpoint, or name none "
        "to use the newest intact one.",
        "checkpoint_corrupt",
    )


def report_set_aside(link: RunLink, problem: str) -> None:
    link.emit(NoticePayload(code="checkpoint_corrupt", message=f"A checkpoint was set aside: {problem}."))


def checkpoint_payload(
    folder: Path, manifest: Manifest, removed_steps: list[int], times_s: Mapping[str, float] | None = None
) -> CheckpointPayload:
    """The event of a committed checkpoint. `times_s` is known only in the attempt that committed it."""
    return CheckpointPayload(
        step=manifest.step,
        name=folder.name,
        size_bytes=manifest.size_bytes,
        manifest_sha256=hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest(),
        metrics=manifest.metrics,
        is_best=checkpoint_files.best_step(folder.parent) == manifest.step,
        removed_steps=removed_steps,
        times_s=dict(times_s or {}),
    )


def _report_unrecorded(plan: TrainingPlan, path: Path, manifest: Manifest, link: RunLink) -> None:
    """Emit again the events that the checkpoint has and the record lacks.

    An attempt that is killed just after a commit loses its last events: without this, the loss history would have a gap
    before the step that training resumes from, and the record would name checkpoints that no longer exist.
    """
    state = json.loads((path / "trainer_state.json").read_text("utf-8"))
    for entry in state["log_history"]:
        values = {name: value for name, value in series_of(entry).items() if math.isfinite(value)}
        is_evaluation = any(name.startswith("eval_") for name in values)
        recorded_step = plan.recorded_eval_step if is_evaluation else plan.recorded_step
        if entry["step"] > recorded_step and values:
            epoch, total_steps = entry.get("epoch"), state["max_steps"]
            link.emit(
                MetricsPayload(step=entry["step"], total_steps=total_steps, epoch=epoch, eta_s=None, values=values)
            )
    on_disk = [step for step, _ in checkpoint_files.committed(plan.checkpoints_folder)]
    gone = [step for step in plan.recorded_checkpoints if step not in on_disk]
    if gone or manifest.step not in plan.recorded_checkpoints:
        link.emit(checkpoint_payload(path, manifest, gone))
