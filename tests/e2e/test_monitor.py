"""The terminal monitor as its user meets it: a real terminal, real keys, a real service."""

import sys

from ftlab import Client
from ftlab.schemas import Dataset
from ftlab.status import JobStatus
from tests.support.lab import Lab, tiny_job, wait_for
from tests.support.terminal import Terminal

PATIENT_S = 120.0
ENDLESS = 100_000
COMMAND = [sys.executable, "-m", "ftlab.cli.main", "monitor"]


def test_a_job_is_watched_paused_resumed_with_a_change_and_cancelled(
    lab: Lab, client: Client, dataset: Dataset
) -> None:
    job = client.jobs.create(tiny_job(dataset, max_steps=ENDLESS, name="watched"))
    with Terminal([*COMMAND, "--server", lab.settings.server_url], lab.environment(), (80, 24)) as terminal:
        terminal.wait_for("FineTune Lab", "NAME", "watched", "live")
        terminal.press("/", *"watched", "enter")
        terminal.wait_for(f"/{ENDLESS}", timeout_s=PATIENT_S)
        terminal.press("enter")
        terminal.wait_for("● running", "Charts", "learning_rate", job.id, timeout_s=PATIENT_S)
        terminal.press("l")
        terminal.wait_for(f"/{ENDLESS}: loss")
        terminal.press("3")
        terminal.wait_for("CHECKPOINT", "step-000000", timeout_s=PATIENT_S)
        terminal.press("p")
        terminal.wait_for("‖ paused", timeout_s=PATIENT_S)
        assert client.jobs.get(job.id).status is JobStatus.PAUSED
        terminal.press("R")
        terminal.wait_for("Resume 'watched'")
        terminal.press("tab", *"training.learning_rate = 1e-4", "ctrl+r")
        terminal.wait_for("● running", timeout_s=PATIENT_S)
        assert client.jobs.get(job.id).adjustments[-1].sentence == "training.learning_rate 0.001 -> 0.0001"
        terminal.press("d")
        terminal.wait_for("Cancel job 'watched'", "No")
        terminal.press("enter")  # No
        terminal.wait_until_gone("Cancel job")
        terminal.press("d")
        terminal.wait_for("Cancel job 'watched'")
        terminal.press("y")
        terminal.wait_until_gone("Cancel job")
        terminal.wait_for("⊘ cancelled", timeout_s=PATIENT_S)
        wait_for(lambda: client.jobs.get(job.id).status is JobStatus.CANCELLED, PATIENT_S, "the end of the job")
        terminal.press("q")
        assert terminal.wait_until_ended() == 0
