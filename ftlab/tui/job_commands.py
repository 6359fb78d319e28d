"""The keys that change or download the selected job: each asks what it needs, requests it, and reports the result."""

from collections.abc import Awaitable, Callable, Iterable
from typing import ClassVar

from textual.app import SystemCommand
from textual.binding import Binding

from ftlab.cli.text import steps
from ftlab.errors import FineTuneLabError, NotFoundError
from ftlab.formatting import size
from ftlab.schemas import Job
from ftlab.status import JobStatus
from ftlab.tui import actions
from ftlab.tui.actions import Action, DownloadChoice, ResumeChoice
from ftlab.tui.base import MonitorBase
from ftlab.tui.dialogs import DownloadDialog, Question, ResumeDialog, ValueDialog

REPORT_S = 6.0


class JobCommands(MonitorBase):
    """Pause, resume, cancel, priority, move to the front, download."""

    JOB_KEYS: ClassVar[list[Binding]] = [
        Binding("p", "pause_job", show=False),
        Binding("R", "resume_job", show=False),
        Binding("d", "cancel_job", show=False),
        Binding("P", "change_priority", show=False),
        Binding("F", "move_to_front", show=False),
        Binding("D", "download", show=False),
    ]

    def job_commands(self) -> Iterable[SystemCommand]:
        """The commands of the palette that are possible for the selected job."""
        job = self.selected_job
        runs: dict[Action, Callable[[], None]] = {
            Action.PAUSE: self.action_pause_job,
            Action.RESUME: self.action_resume_job,
            Action.CANCEL: self.action_cancel_job,
            Action.PRIORITY: self.action_change_priority,
            Action.FRONT: self.action_move_to_front,
            Action.DOWNLOAD: self.action_download,
        }
        for action, run in runs.items():
            if job is not None and actions.why_not(action, job, is_readonly=self.is_readonly) is None:
                yield SystemCommand(f"{action} {job.name}".capitalize(), f"Job {job.id}", run)

    def action_pause_job(self) -> None:
        """Pause the selected job."""
        if job := self._target(Action.PAUSE):
            self._carry_out(lambda: self._message(self.acts.jobs.pause(job.id)))

    def action_cancel_job(self) -> None:
        """Cancel the selected job, after a question."""
        job = self._target(Action.CANCEL)
        if job is None:
            return
        where = f" at step {steps(job.step, job.total_steps)}" if job.step else ""

        def answered(answer: bool | None) -> None:
            if answer:
                self._carry_out(lambda: self._message(self.acts.jobs.cancel(job.id)))

        consequence = f"It is {job.status}{where}. Its checkpoints are kept, and it can be resumed."
        self.push_screen(Question(f"Cancel job {job.name!r} ({job.id})?", consequence, "Cancel the job"), answered)

    def action_change_priority(self) -> None:
        """Give the selected job another priority."""
        job = self._target(Action.PRIORITY)
        if job is None:
            return

        def answered(priority: int | None) -> None:
            if priority is not None:
                self._carry_out(lambda: self._message(self.acts.jobs.set_priority(job.id, priority)))

        hint = "0 to 100; a higher one runs first. Enter sets it, Esc closes."
        self.push_screen(ValueDialog(f"Priority of {job.name!r}", hint, job.priority, (0, 100)), answered)

    def action_move_to_front(self) -> None:
        """Move the selected job ahead of all with its priority."""
        if job := self._target(Action.FRONT):
            self._carry_out(lambda: self._message(self.acts.jobs.move_to_front(job.id)))

    def action_resume_job(self) -> None:
        """Resume the selected job, with the changes that a dialog asks for."""
        if job := self._target(Action.RESUME):
            self.run_worker(self._resume(job, self._checkpoint_of(job)), group="ask", exclusive=True)

    async def _resume(self, job: Job, checkpoint: str | None) -> None:
        analysis = None
        if job.status is JobStatus.FAILED:
            try:
                analysis = await self.acts.jobs.failure(job.id)
            except NotFoundError:
                pass
            except FineTuneLabError as error:
                self._report(error.message, "error")
                return

        def answered(choice: ResumeChoice | None) -> None:
            if choice is not None:
                self._carry_out(lambda: actions.resume(self.acts, job, choice))

        if self._is_still_selected(job):
            self.push_screen(ResumeDialog(job, analysis, checkpoint or ""), answered)

    def action_download(self) -> None:
        """Download the model, a checkpoint or the logs of the selected job."""
        if job := self._target(Action.DOWNLOAD):
            self.run_worker(self._ask_download(job, self._checkpoint_of(job)), group="ask", exclusive=True)

    async def _ask_download(self, job: Job, checkpoint: str | None) -> None:
        try:
            checkpoints = await self.acts.jobs.checkpoints(job.id)
        except FineTuneLabError as error:
            self._report(error.message, "error")
            return

        def answered(choice: DownloadChoice | None) -> None:
            if choice is not None:
                self._report(f"Downloading {choice.what} of {job.name} ...", "information")
                self._carry_out(lambda: self._download(job, choice))

        choices = actions.downloadable(job, [checkpoint.name for checkpoint in checkpoints])
        if self._is_still_selected(job):
            self.push_screen(DownloadDialog(job, choices, checkpoint), answered)

    async def _download(self, job: Job, choice: DownloadChoice) -> str:
        path = await actions.download(self.acts, job, choice, lambda done, total: None)
        return f"Saved {path} ({size(path.stat().st_size)})."

    def _target(self, action: Action) -> Job | None:
        """The selected job, where the action is possible; otherwise report why not."""
        job = self.selected_job
        if job is None:
            return None
        if (gone := self.table.take_displaced()) is not None:
            self._report(f"Job {gone!r} is not listed any more; {job.name!r} is selected now. Press again.", "warning")
            return None
        problem = actions.why_not(action, job, is_readonly=self.is_readonly)
        if problem is None:
            return job
        self._report(problem, "warning")
        return None

    def _checkpoint_of(self, job: Job) -> str | None:
        """The checkpoint under the cursor, where the pane shows this job: it follows the table with a delay."""
        shown = self.pane.detail
        return self.pane.selected_checkpoint if shown is not None and shown.job.id == job.id else None

    def _is_still_selected(self, job: Job) -> bool:
        """Whether a dialog about the job may open after a request: neither another job nor another dialog is open."""
        selected = self.selected_job
        if selected is not None and selected.id == job.id and len(self.screen_stack) == 1:
            return True
        self._report(f"The dialog of {job.name!r} was not opened: you have moved on.", "information")
        return False

    def _carry_out(self, request: Callable[[], Awaitable[str]]) -> None:
        """Send a request while the screen stays alive, report the result, and fetch the jobs again."""

        async def run() -> None:
            try:
                self._report(await request(), "information")
            except FineTuneLabError as error:
                self._report(error.message, "error")
            except OSError as error:
                self._report(f"{error.filename or 'The file'}: {error.strerror or error}.", "error")
            self.feed.hurry()

        self.run_worker(run(), group="act")

    async def _message(self, request: Awaitable[Job]) -> str:
        job = await request
        return f"{job.name}: {job.message}"

    def _report(self, text: str, severity: str) -> None:
        self.notify(text, severity=severity, timeout=REPORT_S, markup=False)  # type: ignore[arg-type]
