"""Suggestions for sweeps, computed in a thread beside the tick."""

import logging
from collections.abc import Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass

from cluster.search.suggest import next_values
from ftlab.errors import InternalServerError
from ftlab.schemas.sweeps import SweepConfig, Value
from tracking.store.sweeps import SweepRecord, TrialRecord

logger = logging.getLogger(__name__)


class SearchError(InternalServerError):
    """The computation of a suggestion failed."""


@dataclass(frozen=True)
class _Asked:
    trials: Sequence[TrialRecord]
    future: Future[dict[str, Value]]


class Suggestions:
    """Remembers what is being computed. What is lost is computed again, with the same result."""

    def __init__(self, executor: Executor | None = None) -> None:
        self._executor = executor or ThreadPoolExecutor(1, thread_name_prefix="ftlab-search")
        self._asked: dict[str, _Asked] = {}

    def take(self, sweep: SweepRecord, config: SweepConfig, trials: Sequence[TrialRecord]) -> dict[str, Value] | None:
        """The values of the trial after `trials`; `None` while they are being computed.

        A result for other trials than these is thrown away: what is stored is always the answer to what is stored.
        Raise `SearchError` when the computation failed.
        """
        asked = self._asked.get(sweep.id)
        if asked is None or asked.trials != trials:
            future = self._executor.submit(next_values, config, sweep.whole, sweep.rungs, list(trials))
            asked = self._asked[sweep.id] = _Asked(trials, future)
        if not asked.future.done():
            return None
        del self._asked[sweep.id]
        if (error := asked.future.exception()) is not None:
            logger.error("Sweep %s: no suggestion", sweep.id, exc_info=error)
            raise SearchError(f"The next trial could not be chosen ({type(error).__name__}); see the service's log.")
        return asked.future.result()

    def forget_except(self, sweep_ids: set[str]) -> None:
        self._asked = {sweep_id: asked for sweep_id, asked in self._asked.items() if sweep_id in sweep_ids}
