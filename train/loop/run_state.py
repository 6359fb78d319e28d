"""What the trainer keeps between two logged steps, which transformers and TRL leave out of their checkpoints."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from train.loop.randomness import joint_fingerprint


@dataclass(frozen=True)
class RunState:
    """That of one rank, beside its random state."""

    rng_sha256: str
    loss_sum: float
    """Losses since the last logged step, that of this rank alone."""
    last_logged_step: int
    metrics: dict[str, list[float]]
    """What TRL averages when it logs."""
    num_tokens: int

    def write(self, folder: Path, rank: int) -> None:
        _file(folder, rank).write_text(json.dumps(asdict(self)), "utf-8")


def read_run_states(folder: Path) -> list[RunState]:
    """The states of all ranks, in their order."""
    states: list[RunState] = []
    while (file := _file(folder, len(states))).exists():
        content: dict[str, Any] = json.loads(file.read_text("utf-8"))
        states.append(RunState(**content))
    return states


def rng_sha256(states: list[RunState]) -> str:
    """One hash for the random states of all ranks."""
    return joint_fingerprint([state.rng_sha256 for state in states])


def _file(folder: Path, rank: int) -> Path:
    return folder / f"run_state_{rank}.json"
