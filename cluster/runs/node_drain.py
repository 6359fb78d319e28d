"""The notice that a machine of the run is about to be taken away, as a training worker receives it."""

from collections.abc import Callable
from typing import Any


def ray_notice() -> Any:
    """The newest notice of Ray Train's watcher to this worker; `None` before the first notice and where no watcher
    runs.

    The public `ray.train.get_preemption_info` is a barrier across all workers, with a call to another process each
    time: too much for every step.
    """
    from ray.train.v2._internal.execution.context import get_train_context

    return get_train_context().preemption_context.preemption_info


class NodeDrain:
    """Reports each notice once. Reading it costs a few attribute look-ups."""

    def __init__(self, notice: Callable[[], Any] = ray_notice) -> None:
        self._notice = notice
        self._answered: Any = None

    def is_news(self) -> bool:
        """Whether a notice has come, or has changed, since the last call."""
        newest = self._notice()
        if newest is None or newest == self._answered:
            return False
        self._answered = newest
        return True
