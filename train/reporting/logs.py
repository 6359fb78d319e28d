"""The log of a run: every line is written to a file of the job and, as an event, sent to its followers."""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from ftlab.schemas import LogPayload
from train.plan import RunLink

_LOGGERS = ("ftlab.run", "transformers", "trl", "peft", "accelerate", "py.warnings")
_MAX_LINE = 4_000


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
            self._link.emit(LogPayload(level=level, text=line[:_MAX_LINE]))

    def close(self) -> None:
        with suppress(OSError):
            self._stream.close()
        super().close()


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
