"""Proofs about training and evaluation. They need no service: each trains the way a worker does."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from tests.proofs.material import MODEL, TOLERANCE, Finding, Material, largest_difference
from tests.unit.train.ranks import Task, train
from tests.unit.train.runs import Link
from tests.unit.train.traces import Trace
from train.data.tokens.encode import IGNORE
from train.data.tokens.prepare import PrepareSpec, prepare_rows
from train.methods.collator import NUM_TOKENS, RowCollator
from train.model.base_model import find_model
from train.model.tokenizer import load_tokenizer
from train.plan import StopKind

SCRIPT_TIMEOUT_S = 3600.0
EVAL_BATCH_SIZES = (1, 4, 9)


def loss_series_equals_plain_trl(material: Material) -> Finding:
    config = material.config(per_device_train_batch_size=4, seed=7)
    config["method"]["assistant_only_loss"] = False  # the default of TRL
    job, link = material.job(), Link()
    job.train(link, **config)
    ours, plain = link.series("loss"), _plain_trl(material, job.plan(**config).config.model_dump(mode="json"))
    assert ours.keys() == plain.keys(), "The two runs logged other steps."
    return Finding(
        "A job's loss series equals that of a plain TRL script.",
        largest_difference([(ours[step], plain[step]) for step in ours]),
        TOLERANCE,
        f"{len(ours)} steps, from {plain[min(plain)]:.6f} to {plain[max(plain)]:.6f}",
    )


def a_pause_changes_nothing(material: Material) -> Finding:
    config = material.config(gradient_accumulation_steps=2) | {"lora": {"r": 4, "lora_dropout": 0.3}}
    whole, paused = Trace(material.job()), Trace(material.job())
    for trace, pauses in ((whole, [None]), (paused, [2, 4, None])):
        for pause in pauses:
            link = Link(stop_at={} if pause is None else {pause: StopKind.PAUSE})
            trace.links.append(link)
            trace.job.train(link, **config)
    same = whole.series() == paused.series() and whole.weights() == paused.weights()
    return Finding(
        "A job that was paused twice equals one that never was, bit for bit.",
        0.0 if same else 1.0,
        0.0,
        f"all metric series and {len(whole.weights()):,} bytes of delivered weights",
    )


def two_workers_equal_one(material: Material) -> Finding:
    """Two workers with a batch of 2 against one worker with a batch of 4: the same rows in each step."""
    one = Link()
    material.job().train(one, **material.config(per_device_train_batch_size=4))
    two = _train_with_two_workers(material, material.config(per_device_train_batch_size=2))
    pairs = [
        (value, two.series(name)[step])
        for name in ("loss", "eval_loss", "mean_token_accuracy")
        for step, value in one.series(name).items()
    ]
    return Finding(
        "Two workers learn what one worker with twice the batch learns.",
        largest_difference(pairs),
        TOLERANCE,
        f"{len(pairs)} points of loss, eval_loss and mean_token_accuracy",
    )


def packed_rows_equal_unpacked(material: Material) -> Finding:
    """The loss of each document alone against its loss among others in a packed row."""
    base = find_model(MODEL, material.models)
    model = AutoModelForCausalLM.from_pretrained(material.model, dtype=torch.float32).eval()
    pad_token_id = load_tokenizer(base).pad_token_id
    losses: list[list[tuple[tuple[int, ...], float]]] = []
    for packing in (False, True):
        method = material.job().plan(**material.config(packing=packing)).config.method
        spec = PrepareSpec.of(material.train_rows, base.folder, method, is_eval=False)
        rows = prepare_rows(spec, material.folder / "cache", lambda: load_tokenizer(base)).dataset()
        collator = RowCollator.for_model(model, pad_token_id)
        losses.append(sorted(found for row in rows for found in _document_losses(model, collator, row)))
    alone, packed = losses
    assert [ids for ids, _ in alone] == [ids for ids, _ in packed], "A document was cut: raise --max-length."
    return Finding(
        "Each row has the same loss packed and alone.",
        largest_difference([(one, other) for (_, one), (_, other) in zip(packed, alone, strict=True)]),
        TOLERANCE,
        f"the losses of {len(alone)} rows, one by one",
    )


def eval_loss_is_of_the_rows_alone(material: Material, *, two_workers: bool = True) -> Finding:
    losses = {}
    for packing in (False, True):
        for size in EVAL_BATCH_SIZES:
            link = Link()
            material.job().train(link, **material.config(packing=packing, max_steps=1, per_device_eval_batch_size=size))
            losses[packing, size, 1] = link.series("eval_loss")[0]
        if two_workers:
            config = material.config(packing=packing, max_steps=1, per_device_eval_batch_size=2)
            losses[packing, 2, 2] = _train_with_two_workers(material, config).series("eval_loss")[0]
    low, high = min(losses.values()), max(losses.values())
    return Finding(
        "The eval loss depends on nothing but model and rows.",
        largest_difference([(low, high)]),
        TOLERANCE,
        f"{len(losses)} ways to batch, pack and share out the eval rows: {low:.7f} to {high:.7f}",
    )


def _train_with_two_workers(material: Material, config: dict[str, Any]) -> Link:
    job = material.job()
    [trained] = train(job.folder / "ranks", [Task(job, config=config)], workers=2)
    return trained.link


def _plain_trl(material: Material, config: dict[str, Any]) -> dict[int, float]:
    document = {
        "model": str(material.model),
        "rows": str(material.train_file),
        "config": config,
        "learning_rate": config["training"]["learning_rate"],
        "threads": 1,
    }
    job, output = material.folder / "plain.json", material.folder / "plain-steps.jsonl"
    job.write_text(json.dumps(document), "utf-8")
    command = [sys.executable, "-m", "tests.bench.plain_trl", str(job), str(output)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=SCRIPT_TIMEOUT_S)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [json.loads(line) for line in output.read_text("utf-8").splitlines()]
    return {line["step"]: line["loss"] for line in lines}


def _document_losses(model: Any, collator: RowCollator, row: dict[str, Any]) -> list[tuple[tuple[int, ...], float]]:
    """Token ids of each document of a prepared row, and its mean loss."""
    batch = collator([row])
    batch.pop(NUM_TOKENS, None)
    labels = batch.pop("labels")
    with torch.no_grad():
        logits = model(**batch, use_cache=False).logits
    losses = torch.nn.functional.cross_entropy(logits[0, :-1], labels[0, 1:], ignore_index=IGNORE, reduction="none")
    lengths = row.get("seq_lengths") or [len(row["input_ids"])]
    found, start = [], 0
    for length in lengths:
        part = slice(start, start + length - 1)
        trained = labels[0, 1:][part] != IGNORE
        ids = tuple(row["input_ids"][start : start + length])
        found.append((ids, losses[part][trained].mean().item()))
        start += length
    return found
