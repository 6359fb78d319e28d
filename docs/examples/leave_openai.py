"""Fine-tune with the official `openai` client. Nothing in this script knows FineTune Lab: only the address is another.

export OPENAI_BASE_URL=http://127.0.0.1:8000/v1 OPENAI_API_KEY=none
python docs/examples/leave_openai.py MODEL TRAINING_FILE VALIDATION_FILE
"""

import sys
import time
from pathlib import Path

from openai import OpenAI


def main(model: str, training_path: str, validation_path: str) -> None:
    """Upload two files, train on one of them, and print what a job leaves behind."""
    client = OpenAI()
    training = client.files.create(file=Path(training_path), purpose="fine-tune")
    validation = client.files.create(file=Path(validation_path), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(
        model=model,
        training_file=training.id,
        validation_file=validation.id,
        suffix="support",
        seed=7,
        metadata={"team": "support"},
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}},
    )
    print(f"job {job.id}", flush=True)
    while job.status not in ("succeeded", "failed", "cancelled"):
        time.sleep(1)
        job = client.fine_tuning.jobs.retrieve(job.id)
    for event in reversed(list(client.fine_tuning.jobs.list_events(job.id))):
        print(f"{event.level}: {event.message}")
    if job.status != "succeeded" or job.fine_tuned_model is None:
        sys.exit(f"The job is {job.status}: {job.error}")
    print(f"hyperparameters {job.hyperparameters.to_dict()}")
    for checkpoint in client.fine_tuning.jobs.checkpoints.list(job.id):
        print(f"checkpoint {checkpoint.fine_tuned_model_checkpoint}")
    print(client.files.content(job.result_files[0]).text, end="")
    print(f"model {client.models.retrieve(job.fine_tuned_model).id}")


if __name__ == "__main__":
    main(*sys.argv[1:])
