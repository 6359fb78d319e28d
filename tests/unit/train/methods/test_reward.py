"""Reward models: they are those of TRL, and score with plain libraries as they did in training."""

import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import AutoPeftModelForSequenceClassification, LoraConfig
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from trl import RewardConfig, RewardTrainer

from ftlab.errors import InvalidRequestError
from ftlab.schemas import RewardMethod
from tests.support.documents import ROOT, blocks
from tests.unit.train.methods.plain_trl import arguments, assert_close, begin, conversations, series_of
from tests.unit.train.ranks import UNEVEN, assert_same_numbers, two_and_one
from tests.unit.train.runs import Job, Link, write_pairs, write_rows
from train.data.rows.canonical import Kind, write_canonical
from train.methods.reward import EVAL_METRICS, pair_losses

REWARD: dict[str, Any] = {"type": "reward", "max_length": 64}
STEPS = {"max_steps": 6, "num_train_epochs": 2.0, "learning_rate": 0.002}
PAIR = ("prompt", "chosen", "rejected")
GUIDE = ROOT / "docs" / "howto" / "train-a-reward-model.md"
EVALUATED = tuple(f"eval_{name}" for name in EVAL_METRICS)


@pytest.fixture
def pairs(job: Job, tmp_path: Path) -> Job:
    job.rows, job.eval_rows = write_pairs(tmp_path / "pairs.arrow", 11), write_pairs(tmp_path / "e.arrow", 5, offset=4)
    return job


def plain_trl(job: Job, *, tuning: str, learning_rate: float, **method: Any) -> dict[int, float]:
    """The loss series of the script that a user of TRL writes."""
    folder = job.models / "org--tiny"
    begin()
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1, dtype=torch.float32)
    trainer = RewardTrainer(
        model=model,
        args=RewardConfig(
            **arguments(job, STEPS | {"learning_rate": learning_rate}),
            max_length=REWARD["max_length"],
            **method,
        ),
        train_dataset=Dataset.from_list(conversations(Path(str(job.rows)), PAIR)),
        processing_class=AutoTokenizer.from_pretrained(folder),
        peft_config=LoraConfig(
            task_type="SEQ_CLS", r=4, lora_alpha=8, target_modules="all-linear", modules_to_save=["score"]
        )
        if tuning == "lora"
        else None,
    )
    trainer.train()
    return series_of(trainer)["loss"]


def name_base_folder(job: Job) -> Path:
    """The delivered adapter, with a base model that a plain library finds offline."""
    folder = job.folder / "model"
    config = LoraConfig.from_pretrained(folder)
    config.base_model_name_or_path = str(job.models / "org--tiny")
    config.save_pretrained(folder)
    return folder


def plain_scores(job: Job, tuning: str) -> list[list[float]]:
    """Rewards of the two answers of each pair to evaluate on, from the delivered files and plain libraries."""
    folder = job.folder / "model"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if tuning == "lora":
        name_base_folder(job)
        model = AutoPeftModelForSequenceClassification.from_pretrained(folder, num_labels=1)
        model.config.pad_token_id = tokenizer.pad_token_id
    else:
        model = AutoModelForSequenceClassification.from_pretrained(folder)
    assert isinstance(job.eval_rows, Path)
    scores = []
    for row in conversations(job.eval_rows, PAIR):
        texts = [row["prompt"] + row[answer] for answer in ("chosen", "rejected")]
        batch = tokenizer.apply_chat_template(texts, padding=True, return_tensors="pt", return_dict=True)
        with torch.no_grad():
            scores.append(model(**batch).logits.squeeze(-1).tolist())
    return scores


@pytest.mark.parametrize(("tuning", "rate"), [("lora", 0.002), ("full", 2e-4)])
def test_a_reward_model_is_that_of_trl_and_scores_alike_with_plain_libraries(
    pairs: Job, tuning: str, rate: float
) -> None:
    link = Link()
    method = REWARD | {"center_rewards_coefficient": 0.1}
    pairs.train(link, training=STEPS | {"learning_rate": rate}, method=method, tuning=tuning)
    theirs = plain_trl(pairs, tuning=tuning, learning_rate=rate, center_rewards_coefficient=0.1)
    assert_close(link.series("loss"), theirs)
    assert not link.notices("final_eval_differs")
    assert link.series("final_eval_loss")
    [step] = link.series("final_eval_loss")
    scores = torch.tensor(plain_scores(pairs, tuning))
    chosen, rejected = scores.T
    expected = {
        "margin": (chosen - rejected).mean(),
        "accuracy": (chosen > rejected).float().mean(),
        "mean_reward": scores.mean(),
        "min_reward": scores.min(),
        "max_reward": scores.max(),
    }
    for name, value in expected.items():
        assert link.series(f"eval_{name}")[step] == pytest.approx(value.item(), rel=1e-5, abs=1e-6), name


def test_the_script_in_the_documentation_scores_an_answer(
    pairs: Job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs.train(training={"max_steps": 2}, method=REWARD)
    card = (pairs.folder / "model" / "README.md").read_text()
    assert "AutoModelForSequenceClassification" in card
    assert "pipeline_tag: text-classification" in card
    name_base_folder(pairs).rename(pairs.folder / "rewards")
    monkeypatch.chdir(pairs.folder)
    [script] = blocks(GUIDE, "python")
    exec(script.text, {})
    assert math.isfinite(float(capsys.readouterr().out))


def test_an_evaluation_depends_on_nothing_but_model_and_pairs(pairs: Job, tmp_path: Path) -> None:
    values = []
    for size in (1, 2, 5):
        link = Link()
        job = Job(tmp_path / f"job-{size}", pairs.models, pairs.rows, pairs.eval_rows)
        job.train(link, training=STEPS | {"per_device_eval_batch_size": size, "max_steps": 2}, method=REWARD)
        values.append([link.series(name)[2] for name in EVALUATED])
    for others in values[1:]:
        assert others == pytest.approx(values[0], rel=1e-5, abs=1e-6)


LEARNED = ("loss", "mean_reward", "min_reward", "max_reward", "accuracy", "margin", "eval_loss", "eval_min_reward")
GENTLE = STEPS | {"max_steps": 4, "learning_rate": 2e-4}


def test_two_passes_teach_what_one_with_twice_the_batch_teaches(pairs: Job, tmp_path: Path) -> None:
    """Of 11 pairs, the third step has a pass of two and a pass of one."""
    whole, parts = Link(), Link()
    pairs.train(whole, training=GENTLE | {"per_device_train_batch_size": 4}, method=REWARD)
    other = Job(tmp_path / "other", pairs.models, pairs.rows, pairs.eval_rows)
    other.train(parts, training=GENTLE | {"gradient_accumulation_steps": 2}, method=REWARD)
    for name in LEARNED:
        ours, theirs = whole.series(name), parts.series(name)
        assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-6), name


def test_two_workers_learn_what_one_with_twice_the_batch_learns(pairs: Job, tmp_path: Path) -> None:
    """Of 11 pairs, each is trained once in an epoch; for the last ones, a worker has fewer than the other or none."""
    for two, one in two_and_one(pairs, tmp_path, UNEVEN[:2], method=REWARD, tuning="full", training=GENTLE):
        assert_same_numbers(two.link, one)


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_a_reward_model_is_trained_further_with_its_head(pairs: Job, tmp_path: Path, tuning: str) -> None:
    pairs.train(training=STEPS, method=REWARD, tuning=tuning)
    scores = plain_scores(pairs, tuning)
    margin = sum(chosen - rejected for chosen, rejected in scores) / len(scores)
    for name, further in (("same", tuning), ("all", "full")):
        link = Link()
        job = Job(tmp_path / name, pairs.models, pairs.rows, pairs.eval_rows, model=str(pairs.folder / "model"))
        job.train(link, training={"max_steps": 1}, method=REWARD, tuning=further)
        assert link.series("eval_margin")[0] == pytest.approx(margin, rel=1e-5, abs=1e-6)
        assert not link.notices("final_eval_differs")


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_the_adapter_of_a_language_model_gets_a_head(pairs: Job, tmp_path: Path, tuning: str) -> None:
    first = Job(tmp_path / "first", pairs.models, write_rows(tmp_path / "rows.arrow", 16))
    first.train(training={"max_steps": 4})
    link, fresh = Link(), Link()
    pairs.train(fresh, training={"max_steps": 1}, method=REWARD, tuning=tuning)
    job = Job(tmp_path / "second", pairs.models, pairs.rows, pairs.eval_rows, model=str(first.folder / "model"))
    job.train(link, training=STEPS, method=REWARD, tuning=tuning)
    assert link.series("eval_margin")[0] != fresh.series("eval_margin")[0], "the adapter is not in use"
    assert not link.notices("final_eval_differs")
    assert plain_scores(job, tuning)


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_a_language_model_cannot_be_trained_from_a_reward_model(pairs: Job, tmp_path: Path, tuning: str) -> None:
    """The submission refuses it already; this is what a run says."""
    pairs.train(training={"max_steps": 1}, method=REWARD, tuning=tuning)
    job = Job(tmp_path / "next", pairs.models, pairs.rows, model=str(pairs.folder / "model"))
    with pytest.raises(InvalidRequestError, match="has no language-model head"):
        job.train(training={"max_steps": 1}, method={"type": "dpo", "max_length": 64})


def test_a_head_with_several_outputs_is_refused(pairs: Job, tmp_path: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(pairs.models / "org--tiny", num_labels=3)
    model.save_pretrained(tmp_path / "classifier")
    AutoTokenizer.from_pretrained(pairs.models / "org--tiny").save_pretrained(tmp_path / "classifier")
    pairs.model = str(tmp_path / "classifier")
    with pytest.raises(InvalidRequestError, match="has a head with 3 outputs, and a reward model has one"):
        pairs.train(training={"max_steps": 1}, method=REWARD)


@pytest.mark.parametrize(
    "config",
    [
        {"training": {"gradient_checkpointing": True, "bf16": True}},
        {"lora": {"r": 2, "init_lora_weights": "pissa"}},
        {"lora": {"use_dora": True, "modules_to_save": ["embed_tokens"]}},
    ],
    ids=str,
)
def test_other_settings_are_in_force_and_delivered(pairs: Job, config: dict[str, Any]) -> None:
    """`Link` refuses a run that differs from its record."""
    link = Link()
    pairs.train(link, **{"method": REWARD, **config, "training": {"max_steps": 2} | config.get("training", {})})
    assert not link.notices("final_eval_differs")
    assert link.series("final_eval_loss")


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_a_text_that_ends_with_the_padding_token_scores_alike(pairs: Job, tmp_path: Path, tuning: str) -> None:
    """Without a padding token of its own, a tokenizer pads with the end of text."""
    pairs.models = shutil.copytree(pairs.models, tmp_path / "models")
    tokenizer = AutoTokenizer.from_pretrained(pairs.models / "org--tiny")
    tokenizer.pad_token = None
    tokenizer.chat_template = (
        "{% for message in messages %}{{ message.role + ': ' + message.content }}{% endfor %}{{ eos_token }}"
    )
    tokenizer.save_pretrained(pairs.models / "org--tiny")
    link = Link()
    pairs.train(link, training={"max_steps": 2}, method=REWARD, tuning=tuning)
    assert not link.notices("final_eval_differs")
    [step] = link.series("final_eval_loss")
    scores = plain_scores(pairs, tuning)
    mean = sum(map(sum, scores)) / (2 * len(scores))
    assert link.series("eval_mean_reward")[step] == pytest.approx(mean, rel=1e-5, abs=1e-6)


def test_the_answers_of_a_prompt_need_not_be_found(pairs: Job, tmp_path: Path) -> None:
    """As Qwen3 does, this template drops what only the newest answer may have. DPO refuses it."""
    pairs.models = shutil.copytree(pairs.models, tmp_path / "models")
    tokenizer = AutoTokenizer.from_pretrained(pairs.models / "org--tiny")
    tokenizer.chat_template = (
        "{% for message in messages %}{{ message.role + ': ' + message.content }}"
        "{% if loop.last %}{{ eos_token }}{% endif %}{% endfor %}"
    )
    tokenizer.save_pretrained(pairs.models / "org--tiny")
    turns = [{"role": role, "content": text} for role, text in (("user", "Hi"), ("assistant", "Hello"), ("user", "So"))]
    with write_canonical(tmp_path / "turns.arrow", Kind.PREFERENCE) as out:
        for number in range(4):
            chosen, rejected = ([{"role": "assistant", "content": text * (number + 1)}] for text in ("Yes. ", "No. "))
            out.write(number + 1, {"prompt": turns, "chosen": chosen, "rejected": rejected})
    pairs.rows = pairs.eval_rows = tmp_path / "turns.arrow"
    link = Link()
    pairs.train(link, training={"max_steps": 1}, method=REWARD, tuning="full")
    [step] = link.series("final_eval_loss")
    mean = sum(map(sum, plain_scores(pairs, "full"))) / 8
    assert link.series("eval_mean_reward")[step] == pytest.approx(mean, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("quantised", ["load_in_4bit", "load_in_8bit"])
def test_a_reward_model_on_quantised_weights_has_a_whole_head(pairs: Job, quantised: str) -> None:
    link = Link()
    pairs.train(link, training={"max_steps": 2}, method=REWARD, **{quantised: True})
    assert not link.notices("final_eval_differs")
    assert link.series("final_eval_loss")


def test_the_loss_prefers_the_chosen_answer_and_a_centre_near_zero() -> None:
    plain, centred = RewardMethod(), RewardMethod(center_rewards_coefficient=0.01)
    better, worse = torch.tensor([2.0, -2.0]), torch.tensor([-2.0, 2.0])
    assert pair_losses(better, plain) < pair_losses(worse, plain)
    assert pair_losses(better + 5, plain) == pair_losses(better, plain)
    assert pair_losses(better + 5, centred) > pair_losses(better, centred)
