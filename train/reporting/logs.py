"""The log of a run: every line is written to a file of the job and, as an event, sent to its followers."""

import json
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from ftlab.schemas import LogPayload
from train.plan import RunLink

_WARNINGS = "py.warnings"
_LOGGERS = ("ftlab.run", "transformers", "trl", "peft", "accelerate", _WARNINGS)
_MAX_LINE = 4_000
_WARNING = re.compile(r"(?P<file>.+?):(?P<line>\d+): (?P<kind>\w*Warning): (?P<text>.*?)(?:\n  .*)?\n?", re.DOTALL)
"""What `warnings.formatwarning` makes; its last line is the source code."""
_OF_DEVELOPERS = frozenset({"FutureWarning", "DeprecationWarning", "PendingDeprecationWarning"})
"""Kinds that announce changes of a library, on which users of the service cannot act."""


class _RunHandler(logging.Handler):
    def __init__(self, file: Path, link: RunLink) -> None:
        super().__init__(logging.INFO)
        file.parent.mkdir(parents=True, exist_ok=True)
        self._stream = file.open("a", encoding="utf-8", buffering=1)
        self._link = link

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + logging.Formatter().formatException(record.exc_info)
        level = record.levelname.lower()
        for line in text.splitlines():
            at = datetime.fromtimestamp(record.created, UTC).isoformat()
            with suppress(OSError):  # a full disk ends the run at the next checkpoint, never at a line
                self._stream.write(json.dumps({"at": at, "level": level, "text": line[:_MAX_LINE]}) + "\n")
        for line in (text if record.name != _WARNINGS else shown_warning(text)).splitlines():
            self._link.emit(LogPayload(level=level, text=line[:_MAX_LINE]))

    def close(self) -> None:
        with suppress(OSError):
            self._stream.close()
        super().close()


def shown_warning(text: str) -> str:
    """A Python warning as followers see it: in one line without folders of this machine, and empty for what only the
    developers of an installed library can mend. The file of the job has all of it.
    """
    found = _WARNING.fullmatch(text)
    if found is None:
        return text
    file = Path(found["file"])
    if found["kind"] in _OF_DEVELOPERS and {"site-packages", "dist-packages"} & set(file.parts):
        return ""
    return f"{found['kind']}: {' '.join(found['text'].split())} ({file.name}, line {found['line']})"


@contextmanager
def run_log(file: Path, link: RunLink) -> Iterator[logging.Logger]:
    """Context in which log lines and warnings of the training libraries are written to `file` and emitted."""
    handler = _RunHandler(file, link)
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [(logger.level, logger.propagate) for logger in loggers]
    logging.captureWarnings(True)
    for logger in loggers:
        logger.addHandler(handler)
        logger.propagate = False
        logger.setLevel(logging.INFO if logger.name == "ftlab.run" else logging.WARNING)
    try:
        yield loggers[0]
    finally:
        logging.captureWarnings(False)
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate
        handler.close()
        sys.stderr.flush()
