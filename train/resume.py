"""Where an attempt goes on: the newest good checkpoint, and what the attempt before could not tell any more."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

from ftlab.schemas import EventKind
from train import checkpoints
from train.collective import barrier
from train.plan import RunLink, RunPlan
from train.series import series_of


def find_checkpoint(plan: RunPlan, link: RunLink | None) -> Path | None:
    """The checkpoint to go on from, `None` at the beginning.

    Rank 0, the one with a link, sets broken checkpoints aside; the other ranks then see what is left.
    """
    if link is None:
        barrier()
        newest = checkpoints.committed(plan.checkpoints_folder)
        return newest[-1][1] if newest else None
    plan.checkpoints_folder.mkdir(parents=True, exist_ok=True)
    checkpoints.sweep(plan.checkpoints_folder)
    path, manifest, problems = checkpoints.newest_good(plan.checkpoints_folder)
    barrier()
    for problem in problems:
        tell_set_aside(link, problem)
    if path is None or manifest is None:
        return None
    _retell(plan, path, manifest, link)
    link.emit(
        EventKind.NOTICE,
        {
            "code": "resuming",
            "message": f"Resuming from step {manifest.step}.",
            "step": manifest.step,
            "samples": manifest.samples,
        },
    )
    return path


def tell_set_aside(link: RunLink, problem: str) -> None:
    link.emit(EventKind.NOTICE, {"code": "checkpoint_corrupt", "message": f"A checkpoint was set aside: {problem}."})


def checkpoint_data(folder: Path, manifest: checkpoints.Manifest, removed_steps: list[int]) -> dict[str, Any]:
    """What the event of a committed checkpoint tells."""
    return {
        "step": manifest.step,
        "name": folder.name,
        "size_bytes": manifest.size_bytes,
        "manifest_sha256": hashlib.sha256((folder / checkpoints.MANIFEST).read_bytes()).hexdigest(),
        "metrics": manifest.metrics,
        "is_best": checkpoints.best_step(folder.parent) == manifest.step,
        "removed_steps": removed_steps,
    }


def _retell(plan: RunPlan, path: Path, manifest: checkpoints.Manifest, link: RunLink) -> None:
    """Tell again what the checkpoints know and the record does not.

    An attempt that is killed just after it committed takes its last moments with it: without this, the loss history
    would have a gap before the step that training goes on from, and the record would name checkpoints that are gone.
    """
    state = json.loads((path / "trainer_state.json").read_text("utf-8"))
    for entry in state["log_history"]:
        values = {name: value for name, value in series_of(entry).items() if math.isfinite(value)}
        is_evaluation = any(name.startswith("eval_") for name in values)
        recorded_step = plan.recorded_eval_step if is_evaluation else plan.recorded_step
        if entry["step"] > recorded_step and values:
            link.emit(
                EventKind.METRICS,
                {
                    "step": entry["step"],
                    "total_steps": state["max_steps"],
                    "epoch": entry.get("epoch"),
                    "eta_s": None,
                    "values": values,
                },
            )
    on_disk = [step for step, _ in checkpoints.committed(plan.checkpoints_folder)]
    gone = [step for step in plan.recorded_checkpoints if step not in on_disk]
    if gone or manifest.step not in plan.recorded_checkpoints:
        link.emit(EventKind.CHECKPOINT, checkpoint_data(path, manifest, gone))
