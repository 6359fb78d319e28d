"""The data worker looks at a dataset with a real tokenizer, in this process."""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster.data.requests import BaseRef, CheckRequest, SourceFile, TokensRequest, WorkState, WorkStatus
from cluster.data.worker import DataWorker
from ftlab.errors import NotFoundError
from ftlab.schemas.checks import CheckReport
from ftlab.schemas.methods import SftMethod
from ftlab.settings import Settings
from ftlab.status import ReasonCode
from tests.unit.train.data.doctor.doctor_rows import FIRST_LINE, chat, chats, write


@pytest.fixture
def worker(home: Path) -> Iterator[DataWorker]:
    worker = DataWorker(Settings(home=home))
    yield worker
    worker.close()


def file(home: Path, rows: list[dict[str, Any]], name: str = "ds-1") -> SourceFile:
    path = write(home / f"{name}.arrow", rows)
    return SourceFile(name, "training-files", f"{name}.arrow", path, len(rows))


def request(home: Path, source: SourceFile, *, model: str = "org/tiny", **options: Any) -> CheckRequest:
    return CheckRequest(BaseRef(model, home / "models"), SftMethod(max_length=64), source, **options)


def ended(worker: DataWorker, wanted: CheckRequest) -> WorkState:
    deadline = time.monotonic() + 60
    while (state := worker.check(wanted)).status is WorkStatus.WORKING:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return state


def test_a_check_ends_with_a_report_that_is_made_once(worker: DataWorker, home: Path, examined: list[Path]):
    rows = chats(5)
    wanted = request(home, file(home, [*rows, rows[0]]), eval_file=file(home, rows[:2], "ds-2"), max_findings=3)
    assert worker.check(wanted).status is WorkStatus.WORKING
    report = CheckReport.model_validate(ended(worker, wanted).result)
    assert (report.dataset_id, report.model, report.num_rows, report.max_length) == ("ds-1", "org/tiny", 6, 64)
    assert report.counts["exact_duplicate"] == 1
    assert report.overlap is not None
    assert (report.overlap.eval_dataset_id, report.overlap.num_exact) == ("ds-2", 2)
    assert len(report.findings) == 3
    after_a_restart = DataWorker(Settings(home=home))
    assert ended(after_a_restart, wanted).result == report.model_dump(mode="json")
    after_a_restart.close()
    assert len(examined) == 1


def test_another_question_is_another_check(worker: DataWorker, home: Path, examined: list[Path]):
    source = file(home, chats(3))
    for wanted in (request(home, source), request(home, source, max_findings=101)):
        assert ended(worker, wanted).status is WorkStatus.DONE
    assert len(examined) == 2


def test_who_wants_to_see_fewer_findings_shares_the_report(home: Path, examined: list[Path]):
    source = file(home, [chat("Human: hello", f"So {number}.") for number in range(30)])
    reports = [asked_anew(home, request(home, source, max_findings=most)) for most in (20, 100, 0, 7)]
    assert [len(report.findings) for report in reports] == [20, 31, 0, 7]
    assert {report.num_findings for report in reports} == {31}
    assert len(examined) == 1


def test_another_tokenizer_under_the_same_name_is_another_check(home: Path, examined: list[Path]):
    from tests.support.tiny_models import make_tiny_model

    wanted = request(home, file(home, chats(3)), model=str(home / "mine"))
    for vocab_size in (512, 400):
        make_tiny_model(home / "mine", vocab_size=vocab_size)
        asked_anew(home, wanted)
    assert len(examined) == 2


def test_other_weights_are_the_same_check(home: Path, examined: list[Path]):
    from tests.support.tiny_models import make_tiny_model

    wanted = request(home, file(home, chats(3)), model=str(home / "mine"))
    for seed in (0, 1):
        make_tiny_model(home / "mine", seed=seed)
        asked_anew(home, wanted)
    assert len(examined) == 1


@pytest.fixture
def mine(home: Path) -> BaseRef:
    """A base model whose files a test may change."""
    from tests.support.tiny_models import make_tiny_model

    return BaseRef(str(make_tiny_model(home / "mine")), home / "models")


def change_template(base: BaseRef) -> None:
    file = Path(base.model) / "chat_template.jinja"
    file.write_text(file.read_text().replace("<|im_end|>", "<|im_end|>STOP"))


def asked_anew(home: Path, wanted: CheckRequest) -> CheckReport:
    """By a worker that remembers nothing."""
    worker = DataWorker(Settings(home=home))
    report = CheckReport.model_validate(ended(worker, wanted).result)
    worker.close()
    return report


def test_another_chat_template_in_the_same_folder_is_another_check(home: Path, mine: BaseRef, examined: list[Path]):
    wanted = replace(request(home, file(home, [chat("Where?", "There.")])), base=mine)
    before = asked_anew(home, wanted)
    change_template(mine)
    assert asked_anew(home, wanted).tokens_per_epoch > before.tokens_per_epoch
    assert len(examined) == 2


def test_another_chat_template_in_the_same_folder_is_shown(worker: DataWorker, home: Path, mine: BaseRef):
    wanted = TokensRequest(mine, SftMethod(max_length=64), file(home, [chat("Where?", "There.")]))
    worker.tokens(wanted)
    change_template(mine)
    (row,) = worker.tokens(wanted)
    assert "STOP" in "".join(token["text"] for token in row["tokens"])


def test_other_libraries_are_another_check(home: Path, examined: list[Path], monkeypatch: pytest.MonkeyPatch):
    wanted = request(home, file(home, chats(3)))
    asked_anew(home, wanted)
    monkeypatch.setattr("train.data.tokens.prepare.version", lambda name: "999")
    asked_anew(home, wanted)
    assert len(examined) == 2


def test_a_revision_that_was_found_is_the_same_check(home: Path, examined: list[Path]):
    from train.model.base_model import find_model

    wanted = request(home, file(home, chats(3)))
    asked_anew(home, wanted)
    found = find_model("org/tiny", home / "models").revision
    asked_anew(home, replace(wanted, base=replace(wanted.base, pinned_revision=found)))
    assert len(examined) == 1


def test_datasets_with_the_same_rows_share_a_report_and_keep_their_names(home: Path, examined: list[Path]):
    rows = chats(4)
    for train, held_out in (("ds-1", "ds-2"), ("ds-3", "ds-4")):
        wanted = request(home, file(home, rows, train), eval_file=file(home, rows[:2], held_out))
        report = asked_anew(home, wanted)
        assert report.overlap is not None
        assert (report.dataset_id, report.overlap.eval_dataset_id) == (train, held_out)
    assert len(examined) == 1


def test_other_rows_to_evaluate_on_are_another_check(home: Path, examined: list[Path]):
    rows = chats(4)
    for held_out in (None, file(home, rows[:2], "ds-2"), file(home, rows[:3], "ds-3")):
        asked_anew(home, request(home, file(home, rows), eval_file=held_out))
    assert len(examined) == 3


def test_rows_that_are_elsewhere_are_not_fetched_for_a_report_that_is_there(home: Path, examined: list[Path]):
    source = file(home, chats(3), f"{'a' * 64}-{'b' * 12}")
    wanted = request(home, source)
    asked_anew(home, wanted)
    source.rows.unlink()
    assert asked_anew(home, wanted).num_rows == 3
    assert len(examined) == 1


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_report_that_cannot_be_read_is_made_again(home: Path, damage: str, monkeypatch: pytest.MonkeyPatch):
    wanted = request(home, file(home, chats(3)))
    report = asked_anew(home, wanted)
    (kept,) = (home / "cache" / "checks").iterdir()
    if damage == "cut":
        kept.write_bytes(kept.read_bytes()[:100])
    else:
        kept.unlink()
        # As another thread does between a look and the reading.
        monkeypatch.setattr(Path, "exists", lambda path: True)
    assert asked_anew(home, wanted) == report


def test_a_report_is_safe_on_disk_before_it_has_its_name(home: Path, monkeypatch: pytest.MonkeyPatch):
    wanted = request(home, file(home, chats(3)))
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_size))
    asked_anew(home, wanted)
    (kept,) = (home / "cache" / "checks").iterdir()
    assert synced == [kept.stat().st_size, kept.parent.stat().st_size], "then the folder, for the name"


def test_a_report_that_another_one_removes_is_nothing_to_fail_at(home: Path):
    """As `stat` answers while another thread or process makes room."""
    folder = home / "cache" / "checks"
    folder.mkdir(parents=True)
    (folder / "old.json").symlink_to(home / "nowhere")
    assert asked_anew(home, request(home, file(home, chats(3)))).num_rows == 3


def test_a_check_that_cannot_be_made_says_why(worker: DataWorker, home: Path):
    state = ended(worker, request(home, file(home, chats(3)), model=str(home / "gone")))
    assert (state.status, state.reason) == (WorkStatus.FAILED, ReasonCode.MODEL_NOT_FOUND)
    torn = home / "torn.arrow"
    torn.write_bytes(b"not an arrow file")
    state = ended(worker, request(home, SourceFile("ds-9", "training-files", "x", torn, 3)))
    assert (state.status, state.reason) == (WorkStatus.FAILED, ReasonCode.DATASET_INVALID)
    assert not list((home / "cache").rglob("*.tmp"))


def test_only_the_newest_reports_are_kept(worker: DataWorker, home: Path, monkeypatch: pytest.MonkeyPatch):
    from cluster.data import checks

    monkeypatch.setattr(checks, "MAX_REPORTS", 2)
    source = file(home, chats(3))
    for number in range(4):
        ended(worker, request(home, source, max_findings=101 + number))
    assert len(list((home / "cache" / "checks").iterdir())) == 2


def test_the_tokens_of_rows(worker: DataWorker, home: Path):
    source = file(home, [chat("Where?", "In the queue."), chat("And now?", "Still there.")])
    wanted = TokensRequest(BaseRef("org/tiny", home / "models"), SftMethod(max_length=64), source, 1, 1)
    (row,) = worker.tokens(wanted)
    json.dumps(row)
    assert (row["row"], row["dataset_id"], row["model"]) == (2, "ds-1", "org/tiny")
    assert "".join(t["text"] for t in row["tokens"] if t["is_trained"]) == "Still there.<|im_end|>\n"
    with pytest.raises(NotFoundError):
        worker.tokens(TokensRequest(wanted.base, wanted.method, source, 2, 1))


def test_what_a_template_leaves_out_of_the_first_rows(worker: DataWorker, home: Path, mine: BaseRef):
    template = Path(mine.model) / "chat_template.jinja"
    template.write_text(template.read_text().replace("message['content']", "message['content'][:9]"))
    rows = [chat("Where?", "Here."), chat("Where is it now?", "Here."), chat("Where is it then?", "Here.")]
    wanted = TokensRequest(mine, SftMethod(max_length=64), file(home, rows), num_rows=2)
    problems = worker.template_problems(wanted)
    assert list(problems) == [FIRST_LINE + 1]
    assert "leaves out message 1 (user)" in problems[FIRST_LINE + 1]


def test_of_an_adapter_the_tokenizer_of_its_base_is_taken(worker: DataWorker, home: Path):
    adapter = home / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "org/tiny"}))
    assert ended(worker, request(home, file(home, chats(3)), model=str(adapter))).status is WorkStatus.DONE
