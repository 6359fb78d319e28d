"""A report, a row of tokens and an estimate as the service sends them."""

from typing import Any

EVIL = "<img src=x onerror=alert(1)>"

REPORT: dict[str, Any] = {
    "dataset_id": "ds-1",
    "model": "org/base",
    "kind": "messages",
    "max_length": 1024,
    "assistant_only_loss": True,
    "num_rows": 10,
    "counts": {"nothing_to_learn": 1, "truncated_row": 2, "near_duplicate": 1, "rule_of_tomorrow": 4},
    "num_findings": 8,
    "findings": [
        {"rule": "nothing_to_learn", "severity": "error", "message": "No row has a token.", "row": None, "line": None},
        {"rule": "truncated_row", "severity": "warning", "message": f"{EVIL} is cut off.", "row": 2, "line": 3},
    ],
    "lengths": {
        "mean": 12.5,
        "p50": 10,
        "p90": 20,
        "p99": 30,
        "longest": 31,
        "bins": [{"first": 0, "last": 19, "num_rows": 8}, {"first": 20, "last": 39, "num_rows": 2}],
    },
    "tokens_per_epoch": 1250,
    "trained_tokens_per_epoch": 0,
    "num_truncated": 2,
    "num_dropped_tokens": 55,
    "num_untrained": 10,
    "suggested_max_length": 64,
    "padding_fraction": 0.125,
    "padding_batch_size": 4,
    "packing_waste_fraction": 0.01,
    "duplicates": {"num_exact": 0, "num_near": 1, "is_exact_estimated": False, "num_rows_compared": 10},
    "overlap": {"eval_dataset_id": "ds-2", "num_eval_rows": 5, "num_exact": 1, "num_near": 2},
    "roles": [{"role": EVIL, "num_messages": 10, "num_chars": 99, "scripts": {"Latin": 10}}],
    "template": "model",
}


def token(text: str, **flags: bool) -> dict[str, Any]:
    return {"id": 7, "text": text, "is_trained": False, "is_special": False, "is_truncated": False} | flags


TOKEN_ROW: dict[str, Any] = {
    "dataset_id": "ds-1",
    "model": "org/base",
    "row": 2,
    "line": 3,
    "part": "",
    "num_tokens": 6,
    "num_trained": 2,
    "num_truncated": 2,
    "num_hidden": 0,
    "tokens": [
        token("<|im_start|>", is_special=True),
        token(EVIL),
        token("an\x1b[2Jswer", is_trained=True),
        token("\n", is_trained=True),
        token("☃", is_truncated=True),
        token("", is_truncated=True),
    ],
}

_PARTS = {
    "weights": 269_030_016,
    "adapter": 19_537_920,
    "gradients": 0,
    "optimizer": 39_075_840,
    "activations": 5_029_724_160,
    "logits": 4_782_555_136,
    "overhead": 5_097_100_083,
    "total": 15_237_023_155,
}
ESTIMATE: dict[str, Any] = {
    "model": "org/name",
    "rows": {
        "num_rows": 1000,
        "num_sequences": 990,
        "tokens_per_epoch": 123_456,
        "trained_tokens_per_epoch": 60_000,
        "longest": 1024,
        "is_exact": False,
    },
    "steps": 744,
    "tokens": 370_368,
    "time_s": 3600.0,
    "measured_job_id": "job-1",
    "memory_correction": 1.04,
    "memory_job_id": "job-1",
    "peak_length": 1024,
    "devices": [
        {
            "device": "CPU",
            "num_devices": 1,
            "memory_bytes": 8 * 1024**3,
            "processes": 1,
            "peak_bytes": 15_237_023_155,
            "fits": "does_not_fit",
            "message": "The job needs about 15.2 GB, and the device has 8.6 GB.",
            "training": _PARTS,
            "evaluation": None,
        }
    ],
    "alternatives": [
        {
            "changes": {
                "training.per_device_train_batch_size": 1,
                "training.gradient_accumulation_steps": 4,
            },
            "device": "CPU",
            "peak_bytes": 4_000_000_000,
            "message": "Same rows per step, in passes of 1 row.",
        },
        {
            "changes": {"training.gradient_checkpointing": True},
            "device": "CPU",
            "peak_bytes": 5_000_000_000,
            "message": "Activations are computed twice: a step takes about a third longer.",
        },
    ],
    "checkpoint_bytes": 60_000_000,
    "num_checkpoints": 4,
    "checkpoints_bytes": 240_000_000,
    "delivered_bytes": 20_000_000,
    "notes": ["The rows are not prepared yet: tokens and steps are scaled up from a sample."],
}
"""What the service estimates for a job that does not fit."""
