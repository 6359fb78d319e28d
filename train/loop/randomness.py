"""The state of the random number generators that training draws from."""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from train.all_ranks import gather_digests


@contextmanager
def left_alone() -> Iterator[None]:
    """Whatever is drawn inside, training goes on with the numbers it would have drawn without it."""
    state = _state()
    try:
        yield
    finally:
        random.setstate(state["python"])
        np.random.set_state(state["numpy"])
        torch.random.set_rng_state(state["torch"])
        if "cuda" in state:
            torch.cuda.random.set_rng_state(state["cuda"])


def fingerprint() -> str:
    """The SHA-256 of this process's state: equal states draw equal numbers."""
    digest = hashlib.sha256()
    for name, value in _state().items():
        content = value.cpu().numpy().tobytes() if isinstance(value, torch.Tensor) else repr(_plain(value)).encode()
        digest.update(name.encode() + b"\0" + content)
    return digest.hexdigest()


def joint_fingerprint(fingerprints: list[str]) -> str:
    """One for all ranks, in their order."""
    return fingerprints[0] if len(fingerprints) == 1 else hashlib.sha256("".join(fingerprints).encode()).hexdigest()


def gathered_fingerprint() -> str:
    """That of all ranks. Every rank calls it."""
    return joint_fingerprint(gather_digests(fingerprint()))


def _state() -> dict[str, Any]:
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.random.get_rng_state(),
    }
    if torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.random.get_rng_state()
    return state


def _plain(value: Any) -> Any:
    """NumPy shortens its arrays when they are written out."""
    return tuple(part.tolist() if isinstance(part, np.ndarray) else part for part in value)
