"""What every engine does, however it computes: it ends, also when idle, and has a tokenizer for each adapter."""

import threading
import time
from abc import ABC, abstractmethod
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ftlab.errors import FineTuneLabError, ServiceUnavailableError
from train.model.base_model import BaseModel
from train.model.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class ClosableEngine(ABC):
    """Takes requests until it is closed. Every method may be called from any thread."""

    def __init__(self, base: BaseModel) -> None:
        self._base = base
        self._changed = threading.Condition()
        self._closing: FineTuneLabError | None = None
        """The error of requests that come too late."""
        self._used_at = time.monotonic()
        """When the engine last had something to do."""
        self.tokenizer_of = lru_cache(maxsize=64)(self._tokenizer_of)

    @property
    @abstractmethod
    def is_idle(self) -> bool:
        """Whether no answer is awaited or computed."""

    @abstractmethod
    def _wake(self) -> None:
        """Have `run` look whether the engine is closed. The caller holds the lock."""

    def idle_s(self) -> float:
        """Seconds since the engine last had something to do; 0 while it has."""
        with self._changed:
            return time.monotonic() - self._used_at if self.is_idle else 0.0

    def close_if_idle(self, for_s: float) -> bool:
        """Take no more requests if there has been none for this long; return whether it is so."""
        with self._changed:
            if self.is_idle and self.idle_s() >= for_s:
                self.close("The engine ends because it was idle")
            return self._closing is not None

    def close(self, why: str) -> None:
        """Take no more requests, and fail those that are running."""
        with self._changed:
            if self._closing is None:
                self._closing = closing_error(why)
                self._wake()

    def _require_open(self) -> None:
        """Raise `ServiceUnavailableError` when the engine is closing. The caller holds the lock."""
        if self._closing is not None:
            raise self._closing

    def _tokenizer_of(self, adapter: Path | None) -> "PreTrainedTokenizerBase":
        """The tokenizer of an adapter, or of the base model. Blocks while it is read."""
        tokenizer = load_tokenizer(replace(self._base, adapter=adapter))
        # The first call resets truncation and padding, which fails while another thread uses the tokenizer.
        tokenizer("")
        return tokenizer


def closing_error(why: str) -> ServiceUnavailableError:
    """The error of a request that an engine does not take any more."""
    return ServiceUnavailableError(f"{why}; send the request again.", "engine_closing")
