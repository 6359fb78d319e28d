"""The dialogs: a question, one value, a resume, a download, and the help page."""

from collections.abc import Sequence
from typing import ClassVar, TypeVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, Static, TextArea

from ftlab.formatting import shown_value
from ftlab.schemas import FailureAnalysis, Job
from ftlab.tui.actions import DownloadChoice, ResumeChoice, changes_text, default_file
from ftlab.tui.line_area import LineArea
from ftlab.tui.spans import Line, line

Answer = TypeVar("Answer")


class Dialog(ModalScreen[Answer | None]):
    """A box over the screen; Esc closes it without an answer."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss_empty", show=False)]
    DEFAULT_CSS = """
    Dialog { align: center middle; }
    Dialog .box { width: 72; max-width: 96%; height: auto; max-height: 96%; border: solid $accent; padding: 0 1; }
    Dialog .box > * { height: auto; }
    Dialog .title { text-style: bold; }
    Dialog .muted { color: $muted; }
    Dialog .error { color: $error; }
    Dialog .buttons { height: 1; margin-top: 1; align-horizontal: right; }
    Dialog Button { margin-left: 2; min-width: 8; }
    Dialog Input, Dialog TextArea { border: none; padding: 0 1; background: $panel; }
    Dialog Input { height: 1; }
    Dialog TextArea { height: 4; }
    Dialog Choices { max-height: 8; margin: 1 0; }
    """

    def action_dismiss_empty(self) -> None:
        self.dismiss(None)


class Choices(LineArea):
    """Lines of which one is chosen: that of the cursor."""

    def __init__(self, labels: Sequence[str], chosen: int = 0, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._labels = labels
        self.cursor = chosen
        self.styles.height = min(8, len(labels))

    @property
    def chosen(self) -> int:
        return self.cursor or 0

    @property
    def count(self) -> int:
        return len(self._labels)

    def line_at(self, index: int) -> Line:
        return line(("(*) " if index == self.cursor else "( ) ", "accent"), self._labels[index])


class Question(Dialog[bool]):
    """A yes-or-no question; No is preselected."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", show=False),
        Binding("n", "answer(False)", show=False),
        Binding("left,right", "app.focus_next", show=False),
    ]

    def __init__(self, question: str, consequence: str, yes: str) -> None:
        super().__init__()
        self._texts = question, consequence, yes

    def compose(self) -> ComposeResult:
        question, consequence, yes = self._texts
        with Vertical(classes="box"):
            yield Static(question, classes="title", markup=False)
            yield Static(consequence, classes="muted", markup=False)
            with Horizontal(classes="buttons"):
                yield Button("No", id="no", compact=True)
                yield Button(yes, id="yes", variant="error", compact=True)

    def on_mount(self) -> None:
        self.query_one("#no").focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")

    def action_answer(self, answer: bool) -> None:
        self.dismiss(answer)


class ValueDialog(Dialog[int]):
    """Asks for a whole number between two bounds."""

    def __init__(self, title: str, hint: str, value: int, bounds: tuple[int, int]) -> None:
        super().__init__()
        self._texts = title, hint
        self._value, self._bounds = value, bounds

    def compose(self) -> ComposeResult:
        title, hint = self._texts
        with Vertical(classes="box"):
            yield Label(title, classes="title", markup=False)
            yield Label(hint, classes="muted", markup=False)
            yield Input(str(self._value), type="integer", compact=True)
            yield Label("", classes="error", id="problem", markup=False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        low, high = self._bounds
        text = event.value.strip()
        if text.isdecimal() and low <= int(text) <= high:
            self.dismiss(int(text))
        else:
            self.query_one("#problem", Label).update(f"Enter a whole number from {low} to {high}.")


class ResumeDialog(Dialog[ResumeChoice]):
    """How to continue: with the suggested changes, which can be edited, or with the settings as they are."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+r", "resume", show=False)]

    def __init__(self, job: Job, analysis: FailureAnalysis | None, checkpoint: str = "") -> None:
        super().__init__()
        self._job = job
        self._analysis = analysis
        self._suggestions = list(analysis.suggestions) if analysis else []
        named = analysis.resume_from if analysis and self._suggestions else None
        self._checkpoint = checkpoint or (named.name if named else "")
        self._way = 0

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="box", can_focus=False):
            yield Label(f"Resume {self._job.name!r}", classes="title", markup=False)
            yield Static(self._analysis.sentence if self._analysis else self._job.message, markup=False)
            yield Choices(self._ways(), id="way")
            yield Static(self._reason(0), id="reason", classes="muted", markup=False)
            yield Label("Changes, one 'setting = value' a line; edit them, or add your own:", markup=False)
            first = self._suggestions[0] if self._suggestions else None
            yield TextArea(changes_text(first), id="changes", compact=True)
            yield Label("Continue from checkpoint (empty: the newest intact one):", markup=False)
            yield Input(self._checkpoint, id="checkpoint", placeholder="latest, best, or a name", compact=True)
            with Horizontal(classes="buttons"):
                yield Button("Resume  ^R", id="resume", variant="primary", compact=True)
                yield Button("Close  Esc", id="close", compact=True)

    def on_mount(self) -> None:
        self.set_focus(self.query_one("#way"))

    def _ways(self) -> list[str]:
        ways = []
        for suggestion in self._suggestions:
            changes = ", ".join(f"{change.field} = {shown_value(change.to)}" for change in suggestion.changes)
            ways.append(f"Adjust: {changes}")
        ways.append("Keep the settings as they are")
        return [*ways, "Use the original config: undo earlier changes"] if self._job.adjustments else ways

    def on_line_area_moved(self, event: LineArea.Moved) -> None:
        index = self.query_one("#way", Choices).chosen
        if index == self._way:  # at the first or the last one; changes that were edited stay
            return
        self._way = index
        chosen = self._suggestions[index] if index < len(self._suggestions) else None
        self.query_one("#changes", TextArea).text = changes_text(chosen)
        self.query_one("#reason", Static).update(self._reason(index))

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "resume":
            self.action_resume()
        else:
            self.dismiss(None)

    def action_resume(self) -> None:
        changes, place = self.query_one("#changes", TextArea).text, self.query_one("#checkpoint", Input).value.strip()
        is_original = self.query_one("#way", Choices).chosen > len(self._suggestions)
        self.dismiss(ResumeChoice(changes, place, is_original))

    def _reason(self, index: int) -> str:
        if index < len(self._suggestions):
            return f"{self._suggestions[index].reason} {self._suggestions[index].effect}"
        return "The job continues with the config that it was submitted with." if index > len(self._suggestions) else ""


class DownloadDialog(Dialog[DownloadChoice]):
    """What to download, and the file to write."""

    def __init__(self, job: Job, choices: Sequence[str], chosen: str | None) -> None:
        super().__init__()
        self._job = job
        self._choices = list(choices)
        self._chosen = chosen if chosen in self._choices else self._choices[0]

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="box", can_focus=False):
            yield Label(f"Download from {self._job.name!r}", classes="title", markup=False)
            names = ["tuned model" if choice == "model" else choice for choice in self._choices]
            yield Choices(names, self._choices.index(self._chosen), id="what")
            yield Label("File or folder to write to:", markup=False)
            yield Input(default_file(self._job, self._chosen), id="path", compact=True)
            yield Label("Enter in this line starts the download; Esc closes.", classes="muted", markup=False)

    def on_mount(self) -> None:
        self.query_one("#path").focus()

    def on_line_area_moved(self, event: LineArea.Moved) -> None:
        chosen = self._choices[self.query_one("#what", Choices).chosen]
        if chosen == self._chosen:  # at the first or the last one; a path that was edited stays
            return
        self._chosen = chosen
        self.query_one("#path", Input).value = default_file(self._job, self._chosen)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.value.strip():
            self.dismiss(DownloadChoice(self._chosen, event.value.strip()))


HELP = (
    ("Up Down j k", "move", "1-7 [ ]", "tabs of a job"),
    ("g G", "first, last", "l", "log"),
    ("Enter", "open; one chart", "f", "follow the log"),
    ("Esc", "back", "n N", "next, last match"),
    ("Tab", "other pane", "y", "logarithmic axis"),
    ("/", "filter, search", "s S", "smooth more, less"),
    ("Space", "mark a job", "x", "step, epoch, time"),
    ("c", "compare the marked", "t", "theme"),
    ("p", "pause", "d", "cancel"),
    ("R", "resume, adjust", "D", "download"),
    ("P", "priority", "F", "move to the front"),
    ("m", "machines and GPUs", "r", "refresh now"),
    ("?", "this page", "Ctrl+P", "all commands"),
    ("", "", "q", "quit"),
)
SIGNS = "○ waiting  ● active  ↻ starts again  ‖ paused\n✓ completed  ✗ failed  ⊘ cancelled  ▲ checkpoint in a chart"


class HelpPage(Dialog[None]):
    """All keys and signs."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("question_mark,q,enter", "dismiss_empty", show=False)]

    def __init__(self, signs: str) -> None:
        super().__init__()
        self._signs = signs

    def compose(self) -> ComposeResult:
        rows = [f"{key:<13}{what:<22}{other:<10}{its}" for key, what, other, its in HELP]
        with Vertical(classes="box"):
            yield Label("Keys", classes="title")
            yield Static("\n".join(rows), markup=False)
            yield Static(self._signs, classes="muted", markup=False)
