"""What the text of a traceback says: the phase of the run, the line of the error, the frame that raised it."""

import re

from ftlab.status import Phase

_FRAME = re.compile(
    r'^  File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<name>\S+)(?:\n    (?P<code>\S[^\n]*))?', re.MULTILINE
)
_FUNCTIONS = {
    "load_model": Phase.LOADING,
    "load_delivered": Phase.LOADING,
    "load_datasets": Phase.LOADING,
    "load_tokenizer": Phase.LOADING,
    "find_model": Phase.LOADING,
    "evaluation_loop": Phase.EVALUATING,
    "prediction_step": Phase.EVALUATING,
    "measure_batch": Phase.EVALUATING,
    "_evaluate": Phase.EVALUATING,
    "_sample_if_due": Phase.EVALUATING,
    "_final_eval_loss": Phase.EVALUATING,
    "training_step": Phase.TRAINING,
    "_inner_training_loop": Phase.TRAINING,
    "_run_epoch": Phase.TRAINING,
    "_save_checkpoint": Phase.SAVING,
    "on_save": Phase.SAVING,
    "deliver": Phase.DELIVERING,
}
"""Phase by functions of transformers' `Trainer`, of its subclasses, and of `train.run`. The innermost one counts."""
MAX_LINE_CHARS = 300


def phase_of(traceback: str) -> Phase | None:
    """The phase in which the error was raised; `None` where the traceback has none of the known functions."""
    phases = [_FUNCTIONS[frame["name"]] for frame in _FRAME.finditer(traceback) if frame["name"] in _FUNCTIONS]
    return phases[-1] if phases else None


def error_line(traceback: str) -> str | None:
    """The first line of the error that ended the run: its class and its message."""
    frames = list(_FRAME.finditer(traceback))
    below = traceback[frames[-1].end() :] if frames else traceback
    return next((_shortened(line) for line in below.splitlines() if line and not line.startswith(" ")), None)


def innermost_frame(traceback: str) -> str | None:
    """The frame that raised the error: the module's file, the line, the function and its code, in one line."""
    frames = list(_FRAME.finditer(traceback))
    if not frames:
        return None
    frame = frames[-1]
    code = f": {frame['code']}" if frame["code"] else ""
    return _shortened(f"{_below_packages(frame['file'])}:{frame['line']} in {frame['name']}{code}")


def _below_packages(file: str) -> str:
    """The path without the folder that the packages are installed in."""
    _, found, below = file.rpartition("/site-packages/")
    return below if found else "/".join(file.split("/")[-3:])


def _shortened(line: str) -> str:
    """The line, or as many of its sentences as fit."""
    if len(line) <= MAX_LINE_CHARS:
        return line
    sentences, found, _ = line[:MAX_LINE_CHARS].rpartition(". ")
    return f"{sentences}." if found else line[: MAX_LINE_CHARS - 1] + "…"
