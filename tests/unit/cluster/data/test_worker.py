"""The data worker with a real tokenizer, in this process: the run finds what it made."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from cluster.data.requests import FINDINGS, BaseRef, CheckRequest, PrepareRequest, SourceFile, WorkState, WorkStatus
from cluster.data.worker import DataWorker
from ftlab.schemas.checks import CheckReport
from ftlab.schemas.methods import SftMethod
from ftlab.settings import Settings
from ftlab.status import ReasonCode
from tests.unit.train.data.doctor.doctor_rows import chat, write
from tests.unit.train.runs import write_messages, write_rows
from tracking.buckets import Buckets
from train.data import doctor
from train.data.tokens import encode, prepared_cache
from train.model.hub_errors import HubAwayError


class Worker:
    """A worker whose ends can be waited for."""

    def __init__(self, home: Path, **settings: Any) -> None:
        self.home = home
        self._ended = threading.Semaphore(0)
        self.worker = DataWorker(Settings(home=home, **settings), on_prepared=self._ended.release)

    def file(self, name: str, count: int = 8, *, offset: int = 0) -> SourceFile:
        rows = write_rows(self.home / f"{name}.arrow", count, offset=offset)
        return SourceFile(name, "training-files", f"{name}/rows.arrow", rows, count)

    def canonical(self, name: str, rows: list[dict[str, Any]]) -> SourceFile:
        """As an upload leaves it, which the doctor can read."""
        return SourceFile(name, "training-files", name, write(self.home / f"{name}.arrow", rows), len(rows))

    def request(self, *files: SourceFile, eval_file: SourceFile | None = None, **method: Any) -> PrepareRequest:
        base = BaseRef("org/tiny", self.home / "models")
        return PrepareRequest(base, SftMethod(max_length=64, **method), files, eval_file)

    def prepare(self, request: PrepareRequest) -> WorkState:
        """To its end."""
        assert self.worker.prepare(request).status is WorkStatus.WORKING
        assert self._ended.acquire(timeout=60)
        return self.worker.prepare(request)

    @property
    def entries(self) -> set[str]:
        return {path.parent.name for path in (self.home / "cache" / "prepared").glob(f"*/{prepared_cache.MANIFEST}")}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.support.tiny_models import make_tiny_model

    folder = tmp_path_factory.mktemp("home") / "models"
    make_tiny_model(folder / "org--tiny")
    return folder


@pytest.fixture
def worker(models: Path, tmp_path: Path) -> Iterator[Worker]:
    (tmp_path / "models").symlink_to(models)
    started = Worker(tmp_path)
    yield started
    started.worker.close()


@pytest.fixture
def tokenised(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the batches that the tokenizer gets."""
    sizes: list[int] = []
    original = encode._tokenise

    def counting(rows: Any, *arguments: Any) -> Any:
        kept = list(rows)
        sizes.append(len(kept))
        return original(kept, *arguments)

    monkeypatch.setattr(encode, "_tokenise", counting)
    return sizes


def test_a_jobs_files_are_prepared_and_told(worker: Worker, tokenised: list[int]):
    request = worker.request(worker.file("ds-1"), worker.file("ds-2", 5, offset=20), eval_file=worker.file("ds-3", 3))
    state = worker.prepare(request)
    assert (state.status, state.done_rows, state.total_rows) == (WorkStatus.DONE, 29, 29)
    assert state.result is not None
    files = state.result["files"]
    assert [(file["dataset_id"], file["num_rows"]) for file in files] == [("ds-1", 8), ("ds-2", 5), ("ds-3", 3)]
    assert worker.entries == {file["key"] for file in files}
    assert tokenised == [8, 5, 3]


def test_the_doctor_looks_at_the_rows_to_train_on(worker: Worker):
    train = worker.canonical("ds-1", [chat("What?", text) for text in ("One.", "Two. " * 40, "One.")])
    rows = [chat(f"What is {number}?", "A number.") for number in range(8)]
    other, held_out = worker.canonical("ds-2", rows), worker.canonical("ds-3", rows[:3])
    state = worker.prepare(worker.request(train, other, eval_file=held_out))
    assert state.result is not None
    first, second = state.result[FINDINGS].split(" Dataset ")
    assert first.startswith("Dataset ds-1: 3 rows, ")
    assert "; 1 truncated_row, 1 exact_duplicate, " in first
    assert "3 eval_overlap" in second
    again = Worker(worker.home)
    result = again.prepare(worker.request(train)).result
    assert result is not None
    assert result[FINDINGS].startswith(first.split(";")[0])
    again.worker.close()


def test_the_report_of_a_job_is_that_of_the_check_with_its_options(worker: Worker, monkeypatch: pytest.MonkeyPatch):
    examined: list[dict[str, Any]] = []
    original = doctor.examine

    def counting(*arguments: Any, **options: Any) -> CheckReport:
        examined.append(options)
        return original(*arguments, **options)

    monkeypatch.setattr(doctor, "examine", counting)
    train, held_out = worker.canonical("ds-1", [chat("What?", "One.")]), worker.canonical("ds-2", [chat("So?", "Yes.")])
    request = worker.request(train, eval_file=held_out)
    worker.prepare(request)
    assert [options["eval_is_sound"] for options in examined] == [True], "it has been tokenised for the job"
    check = CheckRequest(request.base, request.method, train, held_out, max_findings=20)
    report = CheckReport.model_validate(worker.worker._doctor.check(check, lambda *_: None))
    assert len(examined) == 1
    (kept,) = (worker.home / "cache" / "checks").iterdir()
    kept.unlink()
    assert CheckReport.model_validate(worker.worker._doctor.check(check, lambda *_: None)) == report
    assert not examined[1]["eval_is_sound"]


def test_a_doctor_that_fails_stops_no_job(worker: Worker, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("train.data.doctor.examine", fail)
    state = worker.prepare(worker.request(worker.file("ds-1")))
    assert state.status is WorkStatus.DONE
    assert state.result is not None
    assert state.result[FINDINGS] == "Dataset ds-1 could not be checked."


def test_what_was_prepared_stays_while_the_doctor_looks(worker: Worker, monkeypatch: pytest.MonkeyPatch):
    removed: list[list[str]] = []
    original = doctor.examine

    def while_others_make_room(*arguments: Any, **options: Any) -> CheckReport:
        removed.append(prepared_cache.PreparedCache(worker.home / "cache" / "prepared").evict(0))
        return original(*arguments, **options)

    monkeypatch.setattr(doctor, "examine", while_others_make_room)
    state = worker.prepare(worker.request(worker.file("ds-1"), eval_file=worker.file("ds-2", 3)))
    assert state.status is WorkStatus.DONE
    assert removed == [[]]


def test_the_preparation_gets_further_while_rows_are_compared(worker: Worker, monkeypatch: pytest.MonkeyPatch):
    told: list[tuple[int, int]] = []

    def counting(rows: Path, *_: Any, on_progress: Any, **__: Any) -> CheckReport:
        # Of 8 rows to train on and 24 to evaluate on.
        for done in (8, 16, 24, 32):
            on_progress(done, 32)
        raise ZeroDivisionError

    monkeypatch.setattr(doctor, "examine", counting)
    request = worker.request(worker.file("ds-1"), eval_file=worker.file("ds-2", 24))
    worker.worker._prepare(request, lambda *progress: told.append(progress))
    assert told[-5:] == [(34, 40), (36, 40), (38, 40), (40, 40), (40, 40)]


def test_the_same_rows_in_another_job_are_not_tokenised_again(worker: Worker, tokenised: list[int]):
    file = worker.file("ds-1")
    worker.prepare(worker.request(file))
    again = SourceFile("ds-9", file.bucket, file.key, file.rows, file.num_rows)
    assert worker.prepare(worker.request(again)).status is WorkStatus.DONE
    assert tokenised == [8]


def test_a_new_worker_finds_what_the_one_before_has_made(worker: Worker, tokenised: list[int], models: Path):
    request = worker.request(worker.file("ds-1"), worker.file("ds-2", 5, offset=20))
    worker.prepare(request)
    after = Worker(worker.home)
    assert after.prepare(request).status is WorkStatus.DONE
    assert tokenised == [8, 5]
    after.worker.close()


def test_the_run_opens_what_the_worker_has_made(worker: Worker, tokenised: list[int], models: Path):
    from tests.unit.train.runs import Job

    train, evaluate = worker.file("ds-1", 16), worker.file("ds-2", 4, offset=3)
    worker.prepare(worker.request(train, eval_file=evaluate))
    assert tokenised == [16, 4]
    job = Job(worker.home / "job", models, train.rows, evaluate.rows)
    assert job.plan().cache_folder == worker.home / "cache"
    job.train(training={"max_steps": 1})
    assert tokenised == [16, 4]


def test_rows_that_teach_nothing_fail_with_the_sentence(worker: Worker):
    rows = [[{"role": "user", "content": "What? " * 40}, {"role": "assistant", "content": "That."}]]
    file = SourceFile("ds-1", "training-files", "ds-1", write_messages(worker.home / "long.arrow", rows), 1)
    state = worker.prepare(worker.request(file))
    assert (state.status, state.reason) == (WorkStatus.FAILED, ReasonCode.DATASET_INVALID)
    assert state.message.startswith("Dataset ds-1: None of the 1 rows has a token to learn; 1 of them are longer than ")


@pytest.mark.parametrize(("bad", "name"), [("ds-2", "Dataset ds-2: "), ("ds-3", "The eval dataset ds-3: ")])
def test_of_several_files_the_one_that_is_wrong_is_named(worker: Worker, bad: str, name: str):
    files = {dataset_id: worker.file(dataset_id, 3) for dataset_id in ("ds-1", "ds-2", "ds-3")}
    rows = [[{"role": "user", "content": "What? " * 40}, {"role": "assistant", "content": "That."}]]
    files[bad] = SourceFile(bad, "training-files", bad, write_messages(worker.home / "long.arrow", rows), 1)
    state = worker.prepare(worker.request(files["ds-1"], files["ds-2"], eval_file=files["ds-3"]))
    assert (state.status, state.reason) == (WorkStatus.FAILED, ReasonCode.DATASET_INVALID)
    assert state.message.startswith(f"{name}None of the 1 rows has a token to learn; ")


def test_a_template_whose_turns_cannot_be_told_apart_names_the_file(worker: Worker, tmp_path: Path):
    from tests.support.tiny_models import make_tiny_model, make_tiny_tokenizer
    from tests.unit.train.data.doctor.test_examine import REWRITING

    folder = make_tiny_model(tmp_path / "rewriting")
    tokenizer = make_tiny_tokenizer()
    tokenizer.chat_template = REWRITING
    tokenizer.save_pretrained(folder)
    talk = [{"role": role, "content": "So."} for role in ("user", "assistant") * 2]
    file = SourceFile("ds-1", "training-files", "ds-1", write_messages(worker.home / "talk.arrow", [talk]), 1)
    state = worker.prepare(PrepareRequest(BaseRef(str(folder), worker.home), SftMethod(max_length=64), (file,)))
    assert (state.status, state.reason) == (WorkStatus.FAILED, ReasonCode.CONFIG_INVALID)
    assert state.message.startswith("Dataset ds-1: The model's chat template writes earlier messages differently")


def test_a_template_that_refuses_a_row_fails_with_the_sentence(worker: Worker, tmp_path: Path):
    from tests.support.tiny_models import make_tiny_model, make_tiny_tokenizer

    folder = make_tiny_model(tmp_path / "strict")
    tokenizer = make_tiny_tokenizer()
    tokenizer.chat_template = "{{ raise_exception('Only one turn, please') }}"
    tokenizer.save_pretrained(folder)
    base = BaseRef(str(folder), worker.home / "models")
    state = worker.prepare(PrepareRequest(base, SftMethod(max_length=64), (worker.file("ds-1"),)))
    assert (state.status, state.reason) == (WorkStatus.FAILED, ReasonCode.DATASET_INVALID)
    assert state.message == "Dataset ds-1: Row 1 does not fit the model's chat template: Only one turn, please"


def test_a_model_that_is_gone_fails(worker: Worker):
    base = BaseRef("/nowhere/at/all", worker.home / "models")
    state = worker.prepare(PrepareRequest(base, SftMethod(), (worker.file("ds-1"),)))
    assert (state.status, state.reason) == (WorkStatus.FAILED, ReasonCode.MODEL_NOT_FOUND)


def test_a_model_hub_that_is_away_lets_the_job_wait(worker: Worker, monkeypatch: pytest.MonkeyPatch):
    def is_away(*_: Any, **__: Any) -> None:
        raise HubAwayError("no answer")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", is_away)
    base = BaseRef("org/never-fetched", worker.home / "models")
    state = worker.prepare(PrepareRequest(base, SftMethod(), (worker.file("ds-1"),)))
    assert (state.status, state.reason) == (WorkStatus.FAILED, None)
    assert state.message.startswith("The base model org/never-fetched is not on this machine, and the model hub cannot")


def test_rows_in_a_bucket_elsewhere_are_fetched_once(models: Path, tmp_path: Path, tokenised: list[int]):
    (tmp_path / "models").symlink_to(models)
    key = f"canonical/{'a' * 64}-{'b' * 12}.arrow"
    away = Worker(tmp_path, buckets={"away": "memory://away"})
    elsewhere = fsspec.filesystem("memory")
    elsewhere.pipe(f"/away/{key}", write_rows(tmp_path / "rows.arrow", 8).read_bytes())
    here = Buckets.open(Settings(home=tmp_path, buckets={"away": "memory://away"})).cached_path("away", key)
    request = away.request(SourceFile("ds-1", "away", key, here, 8))
    assert away.prepare(request).status is WorkStatus.DONE
    elsewhere.rm("/away", recursive=True)
    assert away.prepare(away.request(SourceFile("ds-2", "away", key, here, 8))).status is WorkStatus.DONE
    assert tokenised == [8]
    away.worker.close()


def test_rows_that_are_gone_from_their_bucket_fail(worker: Worker):
    gone = SourceFile("ds-1", "training-files", "canonical/gone.arrow", worker.home / "gone.arrow", 8)
    state = worker.prepare(worker.request(gone))
    assert (state.status, state.reason) == (WorkStatus.FAILED, ReasonCode.DATASET_INVALID)
    assert state.message == "Dataset ds-1: The dataset's file is no longer in its bucket."


def test_what_was_not_used_for_longest_makes_room(models: Path, tmp_path: Path):
    (tmp_path / "models").symlink_to(models)
    small = Worker(tmp_path, prepared_cache_bytes=1)
    for name in ("ds-1", "ds-2"):
        state = small.prepare(small.request(small.file(name, 5, offset=len(small.entries) * 20)))
        assert state.result is not None
        # Not what the job that is about to start needs, whatever the limit.
        assert small.entries == {file["key"] for file in state.result["files"]}
    small.worker.close()
