"""State of a job that is being followed, as lines for a terminal or a log."""

from dataclasses import dataclass

from ftlab.cli.text import GLYPHS, files, status_and_phase, steps
from ftlab.formatting import duration, number, one_line, size
from ftlab.schemas import (
    CheckpointPayload,
    Event,
    Job,
    MetricsPayload,
    NoticePayload,
    ProgressPayload,
    SamplePayload,
    StatusPayload,
)
from ftlab.schemas.events import FINAL_EVAL_LOSS
from ftlab.status import JobStatus, Phase

BAR_WIDTH = 24
LOGGED_METRICS = ("loss", "eval_loss", FINAL_EVAL_LOSS, "learning_rate")


@dataclass
class RunView:
    """View of a run, updated by one event after another."""

    status: JobStatus
    step: int = 0
    total_steps: int | None = None
    loss: float | None = None
    eval_loss: float | None = None
    tokens_per_s: float | None = None
    eta_s: float | None = None
    phase: Phase | None = None
    file: int | None = None
    num_files: int = 1
    file_progress: float | None = None

    @classmethod
    def of(cls, job: Job) -> "RunView":
        return cls(
            job.status,
            job.step,
            job.total_steps,
            job.loss,
            job.eval_loss,
            eta_s=job.eta_s,
            phase=job.phase,
            file=job.file,
            num_files=job.num_files,
            file_progress=job.file_progress,
        )

    def apply(self, event: Event) -> str | None:
        """Apply an event; return its line for a log, if it has one."""
        match event.payload:
            case StatusPayload() as new:
                self.status = new.status
                self.phase = Phase.LOADING if new.status is JobStatus.INITIALIZING else None
                if self.status in (JobStatus.FAILED, JobStatus.CANCELLED):
                    return None  # the error that ends the command says it
                return f"{GLYPHS[self.status]} {one_line(new.message or self.status.sentence)}"
            case MetricsPayload() as measured:
                self._take_progress(measured)
                return self._take_metrics(measured)
            case ProgressPayload() as progress:
                self._take_progress(progress)
                return self._take_phase(progress.phase)
            case CheckpointPayload() as saved:
                best = ", the best so far" if saved.is_best else ""
                return f"Checkpoint at step {saved.step} ({size(saved.size_bytes)}{best})"
            case SamplePayload() as sample:
                return one_line(f"Answer to prompt {sample.number} at step {sample.step}: {sample.text}")
            case NoticePayload() as notice:
                return one_line(notice.message)
        return None

    def live_line(self) -> str:
        """The whole view in one line."""
        parts = [f"{GLYPHS[self.status]} {status_and_phase(self.status, self.phase)}"]
        if self.total_steps:
            filled = round(BAR_WIDTH * min(1.0, self.step / self.total_steps))
            parts.append("━" * filled + "╌" * (BAR_WIDTH - filled) + f" {steps(self.step, self.total_steps)}")
        parts += self._numbers()
        return "  ".join(parts)

    def _take_progress(self, progress: ProgressPayload) -> None:
        self.step = progress.step or self.step
        self.total_steps = progress.total_steps or self.total_steps
        self.eta_s = progress.eta_s
        self.file = progress.file or self.file
        self.num_files = progress.num_files or self.num_files
        self.file_progress = progress.file_progress

    def _take_phase(self, phase: Phase | None) -> str | None:
        """Report a change of phase, but only before the first step and after the last one: in between, the steps show
        progress.
        """
        self.phase = phase or self.phase
        is_between_steps = 0 < self.step < (self.total_steps or 0)
        if phase is None or phase is Phase.TRAINING or is_between_steps:
            return None
        return f"{GLYPHS[self.status]} The run is {phase.label}."

    def _take_metrics(self, measured: MetricsPayload) -> str:
        values = measured.values
        self.loss = values.get("loss", self.loss)
        self.eval_loss = values.get("eval_loss", self.eval_loss)
        self.tokens_per_s = values.get("tokens_per_s", self.tokens_per_s)
        shown = [f"{name} {number(values[name])}" for name in LOGGED_METRICS if name in values]
        if "tokens_per_s" in values:
            shown.append(f"{values['tokens_per_s']:.0f} tok/s")
        if "loss" in values and self.eta_s:
            shown.append(f"ETA {duration(self.eta_s)}")
        place = [files(self.file, self.num_files, self.file_progress)]
        return "  ".join([f"step {steps(measured.step, self.total_steps)}", *filter(None, place), *shown])

    def _numbers(self) -> list[str]:
        if self.status is not JobStatus.RUNNING:
            return []
        place = files(self.file, self.num_files, self.file_progress)
        return [
            text
            for text, value in (
                (place, place or None),
                (f"loss {number(self.loss)}", self.loss),
                (f"eval {number(self.eval_loss)}", self.eval_loss),
                (f"{self.tokens_per_s or 0:.0f} tok/s", self.tokens_per_s),
                (f"ETA {duration(self.eta_s)}", self.eta_s or None),
            )
            if value is not None
        ]
