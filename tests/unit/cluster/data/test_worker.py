"""The data worker with a real tokenizer, in this process: the run finds what it made."""

import os
import pickle
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pytest

from cluster.data.requests import (
    FINDINGS,
    BaseRef,
    CheckRequest,
    LengthsRequest,
    PrepareRequest,
    SourceFile,
    TokensRequest,
    WorkState,
    WorkStatus,
)
from cluster.data.worker import DataWorker
from ftlab.errors import FineTuneLabError, InvalidRequestError
from ftlab.schemas.checks import DEFAULT_MAX_FINDINGS, CheckReport
from ftlab.schemas.methods import GrpoMethod, KtoMethod, SftMethod
from ftlab.settings import Settings
from ftlab.status import ReasonCode
from tests.support.model_folders import write_adapter
from tests.unit.train.data.doctor.doctor_rows import chat, write
from tests.unit.train.data.doctor.test_golden_reports import CASES
from tests.unit.train.runs import write_messages, write_rows
from tracking.buckets import Buckets
from train.data import doctor
from train.data.doctor import CheckOptions, EvalRows
from train.data.row_keys import split_files
from train.data.rows.canonical import Kind
from train.data.split_spec import SplitSpec
from train.data.tokens import encode, prepared_cache
from train.data.tokens.prepare import PrepareSpec, prepare_rows
from train.data.tokens.sample_prompts import SampleSettings
from train.model.hub_errors import HubAwayError
from train.model.preflight import ModelUse


class Worker:
    """A worker whose ends can be waited for."""

    def __init__(self, home: Path, **settings: Any) -> None:
        self.home = home
        self._ended = threading.Semaphore(0)
        self.worker = DataWorker(Settings(home=home, **settings), on_prepared=self._ended.release)

    def file(self, name: str, count: int = 8, *, offset: int = 0) -> SourceFile:
        rows = write_rows(self.home / f"{name}.arrow", count, offset=offset)
        return SourceFile(name, "training-files", f"{name}/rows.arrow", rows, count)

    def canonical(self, name: str, rows: list[dict[str, Any]], kind: Kind = Kind.MESSAGES) -> SourceFile:
        return SourceFile(name, "training-files", name, write(self.home / f"{name}.arrow", rows, kind), len(rows))

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


@pytest.fixture
def worker(home: Path) -> Iterator[Worker]:
    started = Worker(home)
    yield started
    started.worker.close()


@pytest.fixture
def tokenised(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of rows of each pass through a tokenizer, be it for a job or for the doctor."""
    sizes: list[int] = []
    original = encode._in_batches

    def counting(rows: Any) -> Any:
        kept = list(rows)
        sizes.append(len(kept))
        return original(kept)

    monkeypatch.setattr(encode, "_in_batches", counting)
    return sizes


def test_a_jobs_files_are_prepared_and_told(worker: Worker, tokenised: list[int]):
    request = worker.request(worker.file("ds-1"), worker.file("ds-2", 5, offset=20), eval_file=worker.file("ds-3", 3))
    state = worker.prepare(request)
    assert (state.status, state.done_rows, state.total_rows) == (WorkStatus.DONE, 32, 32)
    assert state.result is not None
    files = state.result["files"]
    assert [(file["dataset_id"], file["num_rows"]) for file in files] == [("ds-1", 8), ("ds-2", 5), ("ds-3", 3)]
    assert worker.entries == {file["key"] for file in files}
    assert tokenised == [8, 5, 3]


IN_ITS_PROCESS = """
import pickle, sys, time
from pathlib import Path
from cluster.data.requests import WorkStatus
from cluster.data.worker import DataWorkerActor

def ended(ask, request):
    while (state := ask(request)).status is WorkStatus.WORKING:
        time.sleep(0.05)
    return state

calls = pickle.loads(Path(sys.argv[1]).read_bytes())
worker = DataWorkerActor()
answers = [ended(getattr(worker, name), request) for name, request in calls[:3]]
answers += [getattr(worker, name)(request) for name, request in calls[3:]]
Path(sys.argv[1]).write_bytes(pickle.dumps((answers, "transformers" in sys.modules, "torch" in sys.modules)))
"""


def test_the_actor_answers_the_same_without_pytorch(worker: Worker, tmp_path: Path):
    """PyTorch would triple its memory, and the time until it answers first."""
    train = worker.canonical("ds-1", [chat("What?", text) for text in ("One.", "Two. " * 40)])
    request = worker.request(train, eval_file=worker.file("ds-2", 3))
    check = CheckRequest(request.base, request.method, train)
    tokens = TokensRequest(request.base, request.method, train, 0, 2)
    lengths = LengthsRequest(request.base, request.method, (train,))
    samples = SampleSettings(("What?",), 4)
    calls = [
        ("prepare", request),
        ("prepare", replace(request, samples=samples)),
        ("check", check),
        ("tokens", tokens),
        ("template_problems", tokens),
        ("row_lengths", lengths),
    ]
    file = tmp_path / "calls.pickle"
    file.write_bytes(pickle.dumps(calls))
    environment = os.environ | {"FTLAB_HOME": str(worker.home)}
    done = subprocess.run([sys.executable, "-c", IN_ITS_PROCESS, file], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "PyTorch" not in done.stderr
    (prepared, sampled, report, *rest), has_transformers, has_torch = pickle.loads(file.read_bytes())
    assert (has_transformers, has_torch) == (True, False)
    assert [state.status for state in (prepared, sampled, report)] == [WorkStatus.DONE] * 3
    shutil.rmtree(worker.home / "cache")
    again = worker.prepare(request)
    assert again.result == prepared.result
    here = worker.worker
    assert rest == [here.tokens(tokens), here.template_problems(tokens), here.row_lengths(lengths)]


def test_the_doctor_looks_at_the_rows_to_train_on(worker: Worker):
    train = worker.canonical("ds-1", [chat("What?", text) for text in ("One.", "Two. " * 40, "One.")])
    rows = [chat(f"What is {number}?", "A number.") for number in range(8)]
    other, held_out = replace(worker.canonical("ds-2", rows), name="more.jsonl"), worker.canonical("ds-3", rows[:3])
    state = worker.prepare(worker.request(train, other, eval_file=held_out))
    assert state.result is not None
    first, second = state.result[FINDINGS].split(" Dataset ")
    assert first.startswith("Dataset ds-1: 3 rows, ")
    assert "; 1 truncated_row, 1 exact_duplicate, " in first
    assert second.startswith("more.jsonl (ds-2): 8 rows, ")
    assert "3 eval_overlap" in second
    again = Worker(worker.home)
    result = again.prepare(worker.request(train)).result
    assert result is not None
    assert result[FINDINGS].startswith(first.split(";")[0])
    again.worker.close()


def test_the_report_of_a_job_is_that_of_the_check_with_its_options(
    worker: Worker, examined: list[Path], tokenised: list[int]
):
    train, held_out = worker.canonical("ds-1", [chat("What?", "One.")]), worker.canonical("ds-2", [chat("So?", "Yes.")])
    request = worker.request(train, eval_file=held_out)
    worker.prepare(request)
    check = CheckRequest(request.base, request.method, train, held_out, max_findings=20)
    report = CheckReport.model_validate(worker.worker._doctor.check(check, lambda *_: None))
    assert (examined, tokenised) == ([], [1, 1]), "the doctor has watched the preparation"
    (kept,) = (worker.home / "cache" / "checks").iterdir()
    kept.unlink()
    assert CheckReport.model_validate(worker.worker._doctor.check(check, lambda *_: None)) == report
    assert (examined, tokenised) == ([train.rows], [1, 1, 1, 1])


@pytest.mark.parametrize("name", CASES)
def test_what_the_doctor_watches_is_reported_as_what_it_reads(worker: Worker, name: str, tmp_path: Path):
    case = CASES[name]
    tokenizer = case.tokenizer()
    train = worker.canonical("ds-1", case.rows, case.kind)
    held_out = None if case.eval_rows is None else worker.canonical("ds-2", case.eval_rows, case.kind)
    method = SftMethod(**{key: value for key, value in case.options.items() if key != "max_findings"})
    request = CheckRequest(BaseRef("org/tiny", worker.home / "models"), method, train, held_out)
    known = (lambda: EvalRows.read("ds-2", held_out.rows, lambda _: None)) if held_out else None
    watch = worker.worker._doctor.watch(request, request.base.find(), known)
    spec = PrepareSpec.of(train.rows, tmp_path, method)
    try:
        prepare_rows(spec, tmp_path / "cache", lambda: tokenizer, observe=watch.begin)
    except InvalidRequestError:
        assert not watch.has_report, "what a job fails with is the job's error"
        return
    (kept,) = (worker.home / "cache" / "checks").iterdir()
    eval_rows = known() if known else None
    options = CheckOptions(method.max_length, method.assistant_only_loss, method.packing, DEFAULT_MAX_FINDINGS)
    report = doctor.examine(train.rows, tokenizer, options, eval_rows=eval_rows)
    assert kept.read_text() == report.model_dump_json()


@pytest.mark.parametrize("step", ["__init__", "on_rendered", "on_tokenised", "report"])
def test_a_doctor_that_fails_stops_no_job(worker: Worker, step: str, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(doctor.Examination, step, fail)
    state = worker.prepare(worker.request(worker.file("ds-1")))
    assert state.status is WorkStatus.DONE
    assert state.result is not None
    assert state.result["files"][0]["num_rows"] == 8
    assert state.result[FINDINGS] == "Dataset ds-1 could not be checked."


def test_data_that_is_ready_without_a_report_is_read_by_the_doctor_alone(
    worker: Worker, examined: list[Path], tokenised: list[int]
):
    request = worker.request(worker.file("ds-1"), worker.file("ds-2", 5, offset=20), eval_file=worker.file("ds-3", 3))
    before = worker.worker._prepare(request, lambda *_: None)
    for kept in (worker.home / "cache" / "checks").iterdir():
        kept.unlink()
    told: list[tuple[int, int]] = []
    assert worker.worker._prepare(request, lambda *progress: told.append(progress)) == before
    assert tokenised == [8, 5, 3, 8, 5]
    assert examined == [file.rows for file in request.files]
    assert told == sorted(told)
    assert (19, 32) in told, "3 rows to compare with, behind 16 that are ready"
    assert told[-1] == (32, 32)


def test_rows_to_evaluate_on_are_read_once_to_be_compared(worker: Worker, monkeypatch: pytest.MonkeyPatch):
    read: list[str] = []
    original = EvalRows.read

    def counting(dataset_id: str, *arguments: Any) -> EvalRows:
        read.append(dataset_id)
        return original(dataset_id, *arguments)

    monkeypatch.setattr(EvalRows, "read", counting)
    files = [worker.file(f"ds-{number}", 5, offset=5 * number) for number in range(3)]
    worker.prepare(worker.request(*files, eval_file=worker.file("ds-9", 5, offset=5)))
    assert read == ["ds-9"]


def test_what_was_prepared_stays_while_the_doctor_looks(worker: Worker, monkeypatch: pytest.MonkeyPatch):
    removed: list[list[str]] = []
    original = doctor.examine

    def while_others_make_room(*arguments: Any, **options: Any) -> CheckReport:
        removed.append(prepared_cache.PreparedCache(worker.home / "cache" / "prepared").evict(0))
        return original(*arguments, **options)

    monkeypatch.setattr(doctor, "examine", while_others_make_room)
    request = worker.request(worker.file("ds-1"), eval_file=worker.file("ds-2", 3))
    for _ in range(2):
        worker.worker._prepare(request, lambda *_: None)
        for kept in (worker.home / "cache" / "checks").iterdir():
            kept.unlink()
    assert removed == [[]]


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
    assert state.message.startswith(
        "Dataset ds-1: None of the 1 rows has a token to train on; 1 of them are longer than "
    )


def test_rated_answers_of_one_label_fail_before_any_device_is_taken(worker: Worker):
    def rated(name: str, *labels: bool) -> SourceFile:
        prompt, completion = [{"role": "user", "content": "Where?"}], [{"role": "assistant", "content": "Here."}]
        rows = [{"prompt": prompt, "completion": completion, "label": label} for label in labels]
        return worker.canonical(name, rows, Kind.UNPAIRED)

    both, bad, good = rated("ds-1", True, False), rated("ds-2", False, False), rated("ds-3", True, True)
    request = replace(worker.request(both, bad), method=KtoMethod(max_length=64))
    state = worker.prepare(request)
    assert (state.status, state.reason) == (WorkStatus.FAILED, ReasonCode.DATASET_INVALID)
    assert state.message.startswith("Dataset ds-2: All 2 answers to train on are rated bad")
    state = worker.prepare(replace(request, files=(both,), eval_file=good))
    assert state.status is WorkStatus.DONE, "the eval dataset may have one label"


def test_the_weights_of_a_method_are_part_of_its_report(worker: Worker):
    prompt, completion = [{"role": "user", "content": "Where?"}], [{"role": "assistant", "content": "Here."}]
    rows = [{"prompt": prompt, "completion": completion, "label": number < 3} for number in range(4)]
    file = worker.canonical("ds-1", rows, Kind.UNPAIRED)
    for weight, is_reported in ((1.0, True), (3.0, False), (1.0, True)):
        base = BaseRef("org/tiny", worker.home / "models")
        check = CheckRequest(base, KtoMethod(undesirable_weight=weight), file, None, max_findings=20)
        report = worker.worker._doctor.check(check, lambda *_: None)
        assert ("unbalanced_labels" in report["counts"]) is is_reported


@pytest.mark.parametrize(("bad", "name"), [("ds-2", "Dataset ds-2: "), ("ds-3", "The eval dataset ds-3: ")])
def test_of_several_files_the_one_that_is_wrong_is_named(worker: Worker, bad: str, name: str):
    files = {dataset_id: worker.file(dataset_id, 3) for dataset_id in ("ds-1", "ds-2", "ds-3")}
    rows = [[{"role": "user", "content": "What? " * 40}, {"role": "assistant", "content": "That."}]]
    files[bad] = SourceFile(bad, "training-files", bad, write_messages(worker.home / "long.arrow", rows), 1)
    state = worker.prepare(worker.request(files["ds-1"], files["ds-2"], eval_file=files["ds-3"]))
    assert (state.status, state.reason) == (WorkStatus.FAILED, ReasonCode.DATASET_INVALID)
    assert state.message.startswith(f"{name}None of the 1 rows has a token to train on; ")


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


def test_lengths_of_rows_are_sampled_until_they_are_prepared(worker: Worker, tokenised: list[int]):
    first, second = worker.file("ds-1", 700), worker.file("ds-2", 5)
    request = worker.request(first, second)
    lengths = LengthsRequest(request.base, request.method, request.files)
    sampled = worker.worker.row_lengths(lengths)
    assert [(file.num_rows, file.is_exact) for file in sampled] == [(700, False), (5, True)]
    worker.prepare(request)
    before = len(tokenised)
    counted = worker.worker.row_lengths(lengths)
    assert [(file.num_rows, file.is_exact) for file in counted] == [(700, True), (5, True)]
    assert counted[1] == sampled[1]
    assert len(tokenised) == before


def test_both_sides_of_a_split_are_prepared_counted_and_found_by_the_run(worker: Worker, tokenised: list[int]):
    files = worker.file("ds-1", 10), worker.file("ds-2", 5, offset=20)
    spec = SplitSpec(0.2, 3)
    request = replace(worker.request(*files), eval_split=spec)
    state = worker.prepare(request)
    assert (state.status, state.done_rows, state.total_rows) == (WorkStatus.DONE, 30, 30)
    assert state.result is not None
    made = [(file["dataset_id"], file["num_rows"]) for file in state.result["files"]]
    assert made == [("ds-1", 8), ("ds-2", 4), ("ds-1", 2), ("ds-2", 1)]
    assert tokenised == [8, 4, 2, 1, 10, 5], "the doctor reads the whole files"
    assert state.result[FINDINGS].startswith("Dataset ds-1: 10 rows, ")
    assert state.result[FINDINGS].endswith(
        " The counts include 3 rows set aside for evaluation. 2 of these are nearly identical to a trained row, so the "
        "eval loss may look better than it is."
    )
    lengths = worker.worker.row_lengths(LengthsRequest(request.base, request.method, files, spec))
    assert [(file.num_rows, file.num_eval_rows, file.is_exact) for file in lengths] == [(8, 2, True), (4, 1, True)]
    assert len(tokenised) == 6
    cache = worker.home / "cache"
    splits = split_files([file.rows for file in files], spec, cache, ["ds-1", "ds-2"])
    base = request.base.find()
    for file, split in zip(files, splits, strict=True):
        for is_eval, side in ((False, split.train), (True, split.eval)):
            wanted = PrepareSpec.of(file.rows, base.folder, request.method, is_eval=is_eval, selection=side)
            assert wanted.key() in worker.entries


def test_a_job_whose_split_cannot_be_compared_trains(worker: Worker, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> int:
        raise MemoryError

    monkeypatch.setattr("train.data.split_leaks.num_leaks", fail)
    state = worker.prepare(replace(worker.request(worker.file("ds-1")), eval_split=SplitSpec(0.25, 3)))
    assert state.status is WorkStatus.DONE
    assert state.result is not None
    assert state.result[FINDINGS].endswith(" The counts include 2 rows set aside for evaluation.")


def test_rows_of_a_split_are_sampled_from_the_training_rows(worker: Worker):
    request = worker.request(worker.file("ds-1", 700))
    spec = SplitSpec(0.1, 0)
    [found] = worker.worker.row_lengths(LengthsRequest(request.base, request.method, request.files, spec))
    assert (found.num_rows, found.num_eval_rows, found.is_exact) == (630, 70, False)


def test_a_split_of_equal_rows_fails_before_a_device_is_held(worker: Worker):
    file = worker.canonical("ds-1", [chat("What?", "One.")] * 8)
    request = replace(worker.request(file), eval_split=SplitSpec(0.5, 0))
    state = worker.prepare(request)
    assert (state.status, state.reason) == (WorkStatus.FAILED, ReasonCode.DATASET_INVALID)
    assert state.message.endswith("because all rows are equal; set eval_dataset instead.")
    with pytest.raises(InvalidRequestError, match="all rows are equal"):
        worker.worker.row_lengths(LengthsRequest(request.base, request.method, request.files, request.eval_split))


def test_lengths_of_rows_of_a_model_that_is_gone(worker: Worker):
    request = worker.request(worker.file("ds-1"))
    gone = LengthsRequest(BaseRef("/nowhere", worker.home / "models"), request.method, request.files)
    with pytest.raises(FineTuneLabError):
        worker.worker.row_lengths(gone)


def test_a_model_that_is_gone_fails(worker: Worker):
    base = BaseRef("/nowhere/at/all", worker.home / "models")
    state = worker.prepare(PrepareRequest(base, SftMethod(), (worker.file("ds-1"),)))
    assert (state.status, state.reason) == (WorkStatus.FAILED, ReasonCode.MODEL_NOT_FOUND)


@pytest.mark.parametrize(
    ("module", "shape", "words"),
    [
        ("model.layers.0.self_attn.q_proj", (64, 64), None),
        ("model.layers.0.self_attn.q_proj", (32, 32), "the adapter is for 32 x 32"),
        ("lm_head", (512, 64), "lm_head"),
    ],
    ids=["fits", "another model", "tied embeddings"],
)
def test_an_adapter_that_does_not_fit_fails_before_a_device_is_held(
    worker: Worker, tmp_path: Path, module: str, shape: tuple[int, int], words: str | None
):
    name = f"base_model.model.{module}"
    weights = {f"{name}.lora_A.weight": [2, shape[1]], f"{name}.lora_B.weight": [shape[0], 2]}
    targets = [module.rpartition(".")[2]]
    folder = write_adapter(tmp_path / "adapter", "org/tiny", shapes=weights, target_modules=targets)
    use = ModelUse("lora", None, tuple(targets), (), SftMethod())
    base = BaseRef(str(folder), worker.home / "models")
    state = worker.prepare(PrepareRequest(base, SftMethod(max_length=64), (worker.file("ds-1"),), use=use))
    if words is None:
        assert state.status is WorkStatus.DONE
    else:
        assert (state.status, state.reason) == (WorkStatus.FAILED, ReasonCode.CONFIG_INVALID)
        assert words in state.message


def test_a_model_hub_that_is_away_lets_the_job_wait(worker: Worker, monkeypatch: pytest.MonkeyPatch):
    def is_away(*_: Any, **__: Any) -> None:
        raise HubAwayError("no answer")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", is_away)
    base = BaseRef("org/never-fetched", worker.home / "models")
    state = worker.prepare(PrepareRequest(base, SftMethod(), (worker.file("ds-1"),)))
    assert (state.status, state.reason) == (WorkStatus.FAILED, None)
    assert state.message.startswith(
        "The base model org/never-fetched is not on this machine, and the model hub is unreachable"
    )


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


def test_a_sample_prompt_that_does_not_fit_the_model_fails_before_the_rows_are_prepared(worker: Worker):
    request = worker.request(worker.file("ds-1"))
    fitting = replace(request, samples=SampleSettings(("What is a queue?",), 16))
    assert worker.prepare(fitting).status is WorkStatus.DONE
    state = worker.prepare(replace(request, samples=SampleSettings(("word " * 3000,), 16)))
    assert (state.status, state.reason) == (WorkStatus.FAILED, ReasonCode.CONFIG_INVALID)
    assert state.message.startswith("Prompt 1 of training.sample_prompts has")


def test_the_prompts_of_a_job_that_generates_answers_are_not_counted_as_trained(worker: Worker):
    question = {"role": "user", "content": "2 + 2?"}
    rows = [{"messages": [question, {"role": "assistant", "content": text}]} for text in ("It is 4.", "Four.")]
    method = GrpoMethod(max_length=64, max_completion_length=8, num_generations=2, rewards=[{"type": "numeric_answer"}])
    request = PrepareRequest(BaseRef("org/tiny", worker.home / "models"), method, (worker.canonical("ds-sums", rows),))
    result = worker.prepare(request).result
    assert result is not None
    assert result[FINDINGS].startswith("Dataset ds-sums: 2 prompts; 1 no_number")
