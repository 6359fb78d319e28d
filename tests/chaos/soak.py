"""Random faults, one after the other, under a queue of jobs; and the weights that the jobs would have had without."""

import random
import time
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import load_file

from ftlab.schemas import Job
from ftlab.status import JobStatus
from tests.chaos.faults import FAULTS, RESTARTS
from tests.chaos.scene import Scene

PAUSE_S = (5.0, 20.0)
"""The shortest and the longest time between two faults."""
FINISH_TIMEOUT_S = 1200.0
MAX_RETRIES = 100
"""Faults come far more often than a job is meant to bear."""
Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Soak:
    """What a seed makes of it: which faults strike, and when."""

    scene: Scene
    seed: int

    def run(self) -> list[tuple[float, str]]:
        """Submit the jobs, let faults strike, and wait until all jobs have ended. Returns when each fault struck."""
        chance = random.Random(self.seed)
        names = [name for name in FAULTS if self.scene.scale.has_restarts or name not in RESTARTS]
        weights = [FAULTS[name].weight for name in names]
        jobs = [self.scene.submit_config(self.config(number)) for number in range(self.scene.scale.num_soak_jobs)]
        begin = time.monotonic()
        struck = []
        while time.monotonic() - begin < self.scene.scale.soak_s and self._are_alive(jobs):
            time.sleep(chance.uniform(*PAUSE_S))
            [name] = chance.choices(names, weights)
            struck.append((time.monotonic() - begin, name))
            FAULTS[name].strike(self.scene, chance)
        for job in jobs:
            done = self.scene.finish(job, FINISH_TIMEOUT_S)
            assert done.status is JobStatus.COMPLETED, done.message
        return struck

    def config(self, number: int) -> dict[str, Any]:
        """Job `number`; those of the same variant have the same config, and must get the same weights.

        Dropout makes the weights depend on the random state, which a resume has to bring back.
        """
        return self.scene.config(
            max_steps=self.scene.scale.num_soak_steps,
            training={"seed": number % self.scene.scale.num_soak_variants, "learning_rate": 1e-3},
            lora={"lora_dropout": 0.1},
            resources={"cpus_per_worker": 1},
            max_retries=MAX_RETRIES,
        )

    def undisturbed(self) -> list[Weights]:
        """The weights of each variant from a run without faults."""
        jobs = [self.scene.submit_config(self.config(number)) for number in range(self.scene.scale.num_soak_variants)]
        for job in jobs:
            assert self.scene.finish(job, FINISH_TIMEOUT_S).status is JobStatus.COMPLETED
            assert len(self.scene.lab.attempts(job.id)) == 1
        return [self.weights(job.id) for job in jobs]

    def weights(self, job_id: str) -> Weights:
        """The delivered adapter."""
        return dict(load_file(self.scene.folder(job_id) / "model" / "adapter_model.safetensors"))

    def _are_alive(self, jobs: list[Job]) -> bool:
        return any(not self.scene.client.jobs.get(job.id).status.is_terminal for job in jobs)


def differing(ours: Weights, theirs: Weights) -> list[str]:
    """Names of the tensors that are not equal bit for bit."""
    return sorted(
        name
        for name in ours.keys() | theirs.keys()
        if name not in ours or name not in theirs or not torch.equal(ours[name], theirs[name])
    )
