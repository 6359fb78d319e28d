"""A sweep of the scene: trials that completed, one that failed, and two that run."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.testclient import TestClient

from cluster.search.suggest import next_values
from ftlab.schemas.sweep_rules import parse_sweep
from ftlab.schemas.sweeps import TrialState
from ftlab.status import ReasonCode
from tracking.store import Store
from tracking.store.sweeps import TrialRecord

NAME = "support-rates"
NUM_COMPLETED = 9
PARAMETERS: dict[str, Any] = {
    "training.learning_rate": {"min": 1e-5, "max": 1e-2, "log": True},
    "lora.r": [4, 8, 16, 32],
    "training.lr_scheduler_type": ["cosine", "linear"],
}


def add_sweep(api: TestClient, store: Store, dataset: str, job_id: str) -> None:
    """Submit it, and play what the coordinator does; `job_id` is the job of every trial."""
    job = {"model": "HuggingFaceTB/SmolLM2-135M-Instruct", "dataset": dataset, "eval_split": 0.1}
    body = {"name": NAME, "job": job, "parameters": PARAMETERS, "method": "random"}
    reply = api.post("/api/sweeps", json=body)
    assert reply.status_code == 201, reply.text
    config = parse_sweep(body)
    made: list[TrialRecord] = []
    now = datetime.now(UTC)
    with store.begin() as tx:
        sweep = tx.sweeps.get(reply.json()["id"])
        for number in range(NUM_COMPLETED + 3):
            parameters = next_values(config, ("lora.r",), (), made)
            value = 1.2 + abs(math.log10(float(parameters["training.learning_rate"])) + 3.2) / 3
            trial = tx.sweeps.add_trial(sweep, number, parameters, now=now, job_id=job_id)
            made.append(trial)
            ended = {"finished_at": now + timedelta(minutes=number), "run_time_s": 61.0 + number}
            if number < NUM_COMPLETED:
                tx.sweeps.change_trial(trial, state=TrialState.COMPLETED, value=value, **ended)
            elif number == NUM_COMPLETED:
                why = {"reason": ReasonCode.LOSS_DIVERGED, "message": "The loss became NaN at step 12."}
                tx.sweeps.change_trial(trial, state=TrialState.FAILED, **why, **ended)
        tx.sweeps.set_message(sweep.id, "The sweep is searching.")
