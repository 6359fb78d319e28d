"""An evaluation measures the rows, and nothing that depends on how they are batched, packed, ordered or shared out."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from tests.support.rows import encode, read_rows
from tests.support.tiny_models import make_tiny_model
from tests.unit.train.evaluators import Evaluator, Rows, TwoRanks
from tests.unit.train.ranks import Task, train
from tests.unit.train.runs import MODEL, Job, Link, write_messages
from train.data.tokens.encode import IGNORE
from train.loop.evaluation import MetricSums, RankBatches
from train.model.base_model import find_model
from train.model.tokenizer import load_tokenizer
from train.row_order import row_order

METRICS = ("loss", "entropy", "mean_token_accuracy")

Document = list[tuple[int, bool]]
"""Token ids, and whether each is trained."""
documents = st.lists(
    st.lists(st.tuples(st.integers(3, 500), st.booleans()), min_size=1, max_size=14), min_size=1, max_size=9
).filter(lambda rows: any(trained for row in rows for _, trained in row[1:]))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With weights so large that every token has a loss and an entropy of its own."""
    folder = tmp_path_factory.mktemp("models")
    make_tiny_model(folder / "org--tiny", scale=4.0)
    return folder


@pytest.fixture(scope="module")
def alone(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Evaluator:
    return Evaluator(tmp_path_factory.mktemp("alone"), models)


@pytest.fixture(scope="module")
def two_ranks(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoRanks]:
    with TwoRanks(tmp_path_factory.mktemp("two"), models) as ranks:
        yield ranks


@pytest.fixture(scope="module")
def model(models: Path) -> torch.nn.Module:
    loaded: torch.nn.Module = AutoModelForCausalLM.from_pretrained(models / "org--tiny")
    return loaded.eval()


def plain_rows(rows: list[Document]) -> Rows:
    return [
        {
            "input_ids": [token for token, _ in row],
            "labels": [token if trained else IGNORE for token, trained in row],
        }
        for row in rows
    ]


def packed_rows(rows: list[Document], per_row: int) -> Rows:
    """`per_row` documents in each row; the first token of a document is never predicted."""
    packed = []
    for start in range(0, len(rows), per_row):
        parts = plain_rows(rows[start : start + per_row])
        packed.append(
            {
                "input_ids": [token for part in parts for token in part["input_ids"]],
                "labels": [label for part in parts for label in [IGNORE, *part["labels"][1:]]],
                "seq_lengths": [len(part["input_ids"]) for part in parts],
            }
        )
    return packed


def expected_means(model: torch.nn.Module, rows: Rows) -> dict[str, float]:
    """Loss, entropy and accuracy over all trained tokens, one row after the other, from the logits themselves."""
    losses, entropies, hits = [], [], []
    with torch.no_grad():
        for row in rows:
            logs = model(input_ids=torch.tensor([row["input_ids"]])).logits[0, :-1].double().log_softmax(-1)
            for log, label in zip(logs, row["labels"][1:], strict=True):
                if label != IGNORE:
                    losses.append(-log[label].item())
                    entropies.append(-(log.exp() * log).sum().item())
                    hits.append(float(log.argmax().item() == label))
    count = len(losses)
    return dict(zip(METRICS, (math.fsum(values) / count for values in (losses, entropies, hits)), strict=True))


def check(found: dict[str, float], expected: dict[str, float], prefix: str = "") -> None:
    for name in METRICS:
        assert found[prefix + name] == pytest.approx(expected[name], rel=1e-5, abs=1e-5), name


@settings(max_examples=30, deadline=None)
@given(rows=documents, batch_size=st.integers(1, 5), per_row=st.integers(0, 4), random=st.randoms())
def test_an_evaluation_is_the_mean_over_all_trained_tokens(
    alone: Evaluator, model: torch.nn.Module, rows: list[Document], batch_size: int, per_row: int, random: Random
):
    expected = expected_means(model, plain_rows(rows))
    random.shuffle(rows)
    measured = packed_rows(rows, per_row) if per_row else plain_rows(rows)
    check(alone.evaluate(measured, batch_size), expected, "eval_")


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(rows=documents, batch_size=st.integers(1, 5), per_row=st.integers(0, 4))
def test_two_workers_measure_the_same(
    two_ranks: TwoRanks, model: torch.nn.Module, rows: list[Document], batch_size: int, per_row: int
):
    """No row is measured twice to give both equally many, and none is left out."""
    measured = packed_rows(rows, per_row) if per_row else plain_rows(rows)
    check(two_ranks.evaluate(measured, batch_size), expected_means(model, plain_rows(rows)))


@given(num_rows=st.integers(0, 50), batch_size=st.integers(1, 9), num_ranks=st.integers(1, 5))
def test_every_row_is_in_one_batch_of_one_rank(num_rows: int, batch_size: int, num_ranks: int):
    ranks = [RankBatches(num_rows, batch_size, rank, num_ranks) for rank in range(num_ranks)]
    batches = [list(rank) for rank in ranks]
    assert sorted(row for rank in batches for batch in rank for row in batch) == list(range(num_rows))
    assert {rank.num_passes for rank in ranks} == {max(map(len, batches))}
    assert all(1 <= len(batch) <= batch_size for rank in batches for batch in rank)


def test_sums_do_not_lose_small_numbers():
    """In float32, 0.1 would no longer count beside the sum."""
    sums = MetricSums(("loss",), torch.device("cpu"))
    sums.add({"loss": (torch.tensor(1e8, dtype=torch.float64), torch.tensor(1))})
    for _ in range(10):
        sums.add({"loss": (torch.tensor(0.1, dtype=torch.float64), torch.tensor(1))})
    assert sums.means()["loss"] == pytest.approx((1e8 + 1) / 11, rel=1e-12)


def test_a_metric_that_nothing_counted_has_no_mean():
    assert math.isnan(MetricSums(("loss",), torch.device("cpu")).means()["loss"])


def test_of_an_extreme_the_lowest_or_highest_value_counts():
    sums = MetricSums(("loss", "low", "high"), torch.device("cpu"), {"low": "min", "high": "max"})
    assert all(math.isnan(value) for value in sums.means().values())
    for batch in ({"loss": 1.0, "low": -2.0, "high": 3.0}, {"loss": 2.0, "low": -1.0, "high": 1.0}):
        sums.add({name: (torch.tensor(value), torch.tensor(1)) for name, value in batch.items()})
    assert sums.means() == {"loss": 1.5, "low": -2.0, "high": 3.0}


def uneven_rows(file: Path) -> Path:
    """Answers of 1 to 12 words: batches of few and of many trained tokens."""
    answers = ["word " * count for count in (1, 12, 2, 9, 1, 7, 3, 11, 1, 5, 8, 2)]
    return write_messages(
        file, [[{"role": "user", "content": "Count."}, {"role": "assistant", "content": answer}] for answer in answers]
    )


def tokens_of(file: Path, models: Path) -> Rows:
    tokenizer = load_tokenizer(find_model(MODEL, models))
    encoded = encode(read_rows(file), tokenizer, max_length=64, assistant_only_loss=True)
    return [{"input_ids": row.input_ids, "labels": row.labels or []} for row in encoded]


def test_the_first_metrics_of_training_are_means_over_the_tokens_of_the_step(
    job: Job, tmp_path: Path, model: torch.nn.Module
):
    """Over its passes and the workers: 8 rows a step, taken as 1 x 8, 4 x 2 and, by two workers, 2 x 2 x 2."""
    job.rows = uneven_rows(tmp_path / "uneven.jsonl")
    shapes = {"one pass": (8, 1), "four passes": (2, 4), "two workers": (2, 2)}
    links: dict[str, Link] = {}
    for name, (batch_size, passes) in shapes.items():
        shape = {"per_device_train_batch_size": batch_size, "gradient_accumulation_steps": passes}
        config = {"training": {"max_steps": 1, "eval_steps": 1, **shape}}
        trained = replace(job, folder=tmp_path / name / "job", attempts=0)
        if name == "two workers":
            [result] = train(tmp_path / "ranks", [Task(trained, {}, config)], workers=2)
            links[name] = result.link
        else:
            links[name] = Link()
            trained.train(links[name], **config)
    rows = tokens_of(job.rows, job.models)
    expected = expected_means(model, [rows[number] for number in row_order(7, len(rows), 0, 8)])
    for name, link in links.items():
        for metric in METRICS:
            assert link.series(metric)[1] == pytest.approx(expected[metric], rel=1e-5, abs=1e-5), (name, metric)
            evaluated = links["one pass"].series(f"eval_{metric}")
            assert link.series(f"eval_{metric}") == pytest.approx(evaluated, rel=1e-5), (name, metric)


def test_metrics_of_several_steps_are_means_over_all_their_tokens(job: Job, tmp_path: Path, model: torch.nn.Module):
    """One logged step for three that leave the weights nearly as they are."""
    job.rows = uneven_rows(tmp_path / "uneven.jsonl")
    training = {"max_steps": 3, "learning_rate": 1e-12, "gradient_accumulation_steps": 2, "logging_steps": 3}
    link = Link()
    job.train(link, training=training)
    expected = expected_means(model, tokens_of(job.rows, job.models))
    for metric in ("entropy", "mean_token_accuracy"):
        assert link.series(metric) == {3: pytest.approx(expected[metric], rel=1e-5, abs=1e-5)}, metric


def test_the_loss_counts_tokens_also_where_the_model_itself_would_not(
    monkeypatch: pytest.MonkeyPatch, job: Job, tmp_path: Path
):
    """Some models (Gemma 4) refuse the number of tokens in a step for a loss of their own, which TRL does not use."""
    job.rows = uneven_rows(tmp_path / "uneven.jsonl")
    config = {"training": {"max_steps": 2, "gradient_accumulation_steps": 4}}
    as_usual, refusing = Link(), Link()
    job.train(as_usual, **config)
    monkeypatch.setattr(LlamaForCausalLM, "accepts_loss_kwargs", False, raising=False)
    replace(job, folder=tmp_path / "refusing" / "job", attempts=0).train(refusing, **config)
    assert refusing.series("loss") == as_usual.series("loss")
