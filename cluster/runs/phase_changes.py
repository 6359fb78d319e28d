"""Changes of a run's phase: seen in its heartbeats, recorded as progress events."""

from collections.abc import Sequence

from ftlab.schemas import ProgressPayload
from ftlab.status import Phase
from train.plan import Beat
from train.reporting.event_sender import Emitted


class PhaseChanges:
    """Detects phase changes in the batches that a worker sends.

    A batch carries only the newest heartbeat, so a phase that is over before the next batch is not reported: the event
    log gets at most one event per batch, and none while the phase stays the same.
    """

    def __init__(self, step: int) -> None:
        """`step` is the newest recorded step of the job. A run begins with `Phase.LOADING`, which is not reported."""
        self._phase = Phase.LOADING
        self._position = ProgressPayload(step=step)

    @property
    def total_steps(self) -> int | None:
        """Steps of the whole job, once the run has reported them."""
        return self._position.total_steps

    def change(self, events: Sequence[Emitted], beat: Beat | None) -> ProgressPayload | None:
        """Return the event to record after `events`, if the heartbeat has a new phase."""
        for event in events:
            if isinstance(event.payload, ProgressPayload):
                self._position = _position(event.payload)
        if beat is None or beat.phase == self._phase:
            return None
        self._phase = beat.phase
        step = max(self._position.step, beat.step)
        return ProgressPayload(**self._position.to_data() | {"step": step, "phase": self._phase})


def _position(progress: ProgressPayload) -> ProgressPayload:
    """The position alone, without the values of a metrics event."""
    data = progress.to_data()
    return ProgressPayload(**{name: data[name] for name in ProgressPayload.model_fields if name in data})
