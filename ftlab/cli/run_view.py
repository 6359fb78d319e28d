"""What is known of a job that is being followed, as lines for a terminal or a log."""

from dataclasses import dataclass
from typing import Any

from ftlab.cli.text import GLYPHS, duration, files, number, one_line, size, steps
from ftlab.schemas import Event, EventKind, Job
from ftlab.status import JobStatus

BAR_WIDTH = 24


@dataclass
class RunView:
    """Takes events in, one after the other."""

    status: JobStatus
    step: int = 0
    total_steps: int | None = None
    loss: float | None = None
    eval_loss: float | None = None
    tokens_per_s: float | None = None
    eta_s: float | None = None
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
            file=job.file,
            num_files=job.num_files,
            file_progress=job.file_progress,
        )

    def apply(self, event: Event) -> str | None:
        """Take an event in; return the line that it deserves in a log, if any."""
        data = event.data
        match event.kind:
            case EventKind.STATUS:
                self.status = JobStatus(data["status"])
                return f"{GLYPHS[self.status]} {one_line(data.get('message') or self.status.sentence)}"
            case EventKind.METRICS:
                self._take_progress(data)
                return self._take_metrics(data)
            case EventKind.PROGRESS:
                self._take_progress(data)
            case EventKind.CHECKPOINT:
                best = ", the best so far" if data.get("is_best") else ""
                return f"checkpoint at step {data.get('step')} ({size(data.get('size_bytes') or 0)}{best})"
            case EventKind.NOTICE:
                return one_line(data.get("message", ""))
        return None

    def live_line(self) -> str:
        """Everything in one line."""
        parts = [f"{GLYPHS[self.status]} {self.status}"]
        if self.total_steps:
            filled = round(BAR_WIDTH * min(1.0, self.step / self.total_steps))
            parts.append("━" * filled + "╌" * (BAR_WIDTH - filled) + f" {steps(self.step, self.total_steps)}")
        parts += self._numbers()
        return "  ".join(parts)

    def _take_progress(self, data: dict[str, Any]) -> None:
        self.step = data.get("step") or self.step
        self.total_steps = data.get("total_steps") or self.total_steps
        self.eta_s = data.get("eta_s")
        self.file = data.get("file") or self.file
        self.num_files = data.get("num_files") or self.num_files
        self.file_progress = data.get("file_progress")

    def _take_metrics(self, data: dict[str, Any]) -> str:
        values = data.get("values") or {}
        self.loss = values.get("loss", self.loss)
        self.eval_loss = values.get("eval_loss", self.eval_loss)
        self.tokens_per_s = values.get("tokens_per_s", self.tokens_per_s)
        shown = [f"{name} {number(values[name])}" for name in ("loss", "eval_loss", "learning_rate") if name in values]
        if "tokens_per_s" in values:
            shown.append(f"{values['tokens_per_s']:.0f} tok/s")
        if "loss" in values and self.eta_s is not None:
            shown.append(f"ETA {duration(self.eta_s)}")
        place = [files(self.file, self.num_files, self.file_progress)]
        return "  ".join([f"step {steps(data.get('step', self.step), self.total_steps)}", *filter(None, place), *shown])

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
                (f"ETA {duration(self.eta_s)}", self.eta_s),
            )
            if value is not None
        ]
