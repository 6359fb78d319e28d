"""The log of a run: lines in a file and in the event log."""

import json
import logging
import warnings
from pathlib import Path
from typing import Any

from ftlab.schemas import EventPayload, LogPayload
from train.plan import ModelLoaded, StopKind
from train.reporting.logs import run_log, shown_warning


class Link:
    def __init__(self) -> None:
        self.events: list[EventPayload | ModelLoaded] = []

    def emit(self, payload: EventPayload | ModelLoaded) -> None:
        self.events.append(payload)

    def stop_requested(self) -> StopKind | None:
        return None

    def report_checkpoint(self, step: int, folder: Path) -> None:
        raise AssertionError


def texts(link: Link) -> list[tuple[str, str]]:
    return [(line.level, line.text) for line in link.events if isinstance(line, LogPayload)]


def read(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def test_lines_go_to_the_file_and_to_followers(tmp_path: Path):
    link, file = Link(), tmp_path / "logs" / "attempt-1.jsonl"
    with run_log(file, link) as log:
        log.info("Grüße\nzweite Zeile")
        log.debug("not this")
        logging.getLogger("transformers.trainer").warning("careful")
        logging.getLogger("transformers.trainer").info("not this")
        warnings.warn("odd", stacklevel=1)
    assert texts(link)[:3] == [("info", "Grüße"), ("info", "zweite Zeile"), ("warning", "careful")]
    assert texts(link)[3][1].startswith("UserWarning: odd (test_logs.py, line ")
    assert {type(event) for event in link.events} == {LogPayload}
    assert [(line["level"], line["text"]) for line in read(file)][:3] == texts(link)[:3]
    assert str(Path(__file__)) in read(file)[3]["text"]
    assert read(file)[0]["at"].endswith("+00:00")


def test_a_warning_names_no_folder_and_what_only_a_library_can_mend_stays_in_the_file(tmp_path: Path):
    def formatted(kind: str, file: str) -> str:
        return f"{file}:12: {kind}: one\ntwo\n  warnings.warn(\n"

    library = "/opt/venv/lib/python3.11/site-packages/transformers/modeling.py"
    assert shown_warning(formatted("FutureWarning", library)) == ""
    assert shown_warning(formatted("UserWarning", library)) == "UserWarning: one two (modeling.py, line 12)"
    assert shown_warning(formatted("FutureWarning", "/data/reward.py")) == "FutureWarning: one two (reward.py, line 12)"
    assert shown_warning("reward.py:3: UserWarning: one") == "UserWarning: one (reward.py, line 3)"
    assert shown_warning("anything else") == "anything else"


def test_a_traceback_is_kept_line_by_line_and_long_lines_are_cut(tmp_path: Path):
    link = Link()
    with run_log(tmp_path / "log.jsonl", link) as log:
        try:
            raise ValueError("x" * 10_000)
        except ValueError:
            log.exception("It broke")
    lines = [text for _, text in texts(link)]
    assert lines[:2] == ["It broke", "Traceback (most recent call last):"]
    assert max(map(len, lines)) == 4000


def test_a_second_attempt_and_a_closed_log_change_nothing(tmp_path: Path):
    link, file = Link(), tmp_path / "log.jsonl"
    for text in ("one", "two"):
        with run_log(file, link) as log:
            log.info(text)
    log.warning("after the end")
    assert [line["text"] for line in read(file)] == ["one", "two"]
    assert logging.getLogger("transformers").propagate in (True, False)
    assert not logging.getLogger("ftlab.run").handlers


def test_a_log_that_cannot_be_written_does_not_stop_the_run():
    link = Link()
    with run_log(Path("/dev/full"), link) as log:
        log.info("still here")
        log.info("and here")
    assert texts(link) == [("info", "still here"), ("info", "and here")]
