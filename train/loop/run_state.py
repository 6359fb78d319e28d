"""State of a run that transformers and TRL leave out of their checkpoints, and the state of the random numbers."""

import hashlib
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from train.all_ranks import gather_digests


@dataclass(frozen=True)
class RunState:
    """State that one rank's trainer keeps between two logged steps, except its random state."""

    rng_sha256: str
    loss_sum: float
    """Losses since the last logged step, of this rank alone."""
    last_logged_step: int
    metrics: dict[str, list[float]]
    """Values that TRL averages when it logs."""
    num_tokens: int

    def write(self, folder: Path, rank: int) -> None:
        _file(folder, rank).write_text(json.dumps(asdict(self)), "utf-8")


def read_run_states(folder: Path) -> list[RunState]:
    """Read the states of all ranks, in rank order."""
    states: list[RunState] = []
    while (file := _file(folder, len(states))).exists():
        content: dict[str, Any] = json.loads(file.read_text("utf-8"))
        states.append(RunState(**content))
    return states


def saved_rng_sha256(states: list[RunState]) -> str:
    """One fingerprint for the random states of all ranks in a checkpoint."""
    return _joint([state.rng_sha256 for state in states])


def current_rng_sha256() -> str:
    """One fingerprint for the random states that all ranks have now. Every rank calls it."""
    return _joint(gather_digests(rng_sha256()))


def rng_sha256() -> str:
    """Fingerprint of this process's random state: equal states draw equal numbers."""
    digest = hashlib.sha256()
    for name, value in _rng_state().items():
        content = value.cpu().numpy().tobytes() if isinstance(value, torch.Tensor) else repr(_plain(value)).encode()
        digest.update(name.encode() + b"\0" + content)
    return digest.hexdigest()


@contextmanager
def preserve_rng() -> Iterator[None]:
    """Restore the random state afterwards: training draws the same numbers as without the block."""
    state = _rng_state()
    try:
        yield
    finally:
        random.setstate(state["python"])
        np.random.set_state(state["numpy"])
        torch.random.set_rng_state(state["torch"])
        if "cuda" in state:
            torch.cuda.random.set_rng_state(state["cuda"])


def _file(folder: Path, rank: int) -> Path:
    return folder / f"run_state_{rank}.json"


def _joint(fingerprints: list[str]) -> str:
    return fingerprints[0] if len(fingerprints) == 1 else hashlib.sha256("".join(fingerprints).encode()).hexdigest()


def _rng_state() -> dict[str, Any]:
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.random.get_rng_state(),
    }
    if torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.random.get_rng_state()
    return state


def _plain(value: Any) -> Any:
    """Arrays as lists, because NumPy shortens arrays when it prints them."""
    return tuple(part.tolist() if isinstance(part, np.ndarray) else part for part in value)
