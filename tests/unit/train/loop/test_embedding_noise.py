"""NEFTune: noise on the embeddings that are in use, in training only."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.tiny_models import make_tiny_model
from tests.unit.train.runs import Job, Link

NOISE = {"neftune_noise_alpha": 5.0}
STEPS = {"max_steps": 2, "save_steps": 2}


@pytest.mark.parametrize(
    "config",
    [
        pytest.param({}, id="lora"),
        pytest.param({"tuning": "full"}, id="full"),
        pytest.param({"load_in_4bit": True}, id="4-bit"),
        pytest.param({"lora": {"r": 4, "modules_to_save": ["embed_tokens"]}}, id="embedding trained whole"),
        pytest.param({"method": {"packing": True, "max_length": 48}}, id="packing"),
    ],
)
def test_the_noise_changes_training_and_no_evaluation(job: Job, tmp_path: Path, config: dict[str, Any]) -> None:
    if "lora" in config:
        job.models = make_tiny_model(tmp_path / "models" / "org--tiny", tied=False).parent
    quiet, noisy = Link(), Link()
    Job(tmp_path / "quiet", job.models, job.rows, job.eval_rows).train(quiet, training=STEPS, **config)
    job.train(noisy, training=STEPS | NOISE, **config)
    assert noisy.series("loss")[1] != quiet.series("loss")[1]
    assert noisy.series("eval_loss")[0] == quiet.series("eval_loss")[0]
    assert noisy.series("final_eval_loss")[2] == pytest.approx(noisy.series("eval_loss")[2], rel=1e-4)


def test_the_noise_grows_with_its_strength(job: Job, tmp_path: Path) -> None:
    losses = []
    for number, alpha in enumerate((None, 1.0, 50.0)):
        link = Link()
        training = STEPS | {"max_steps": 1, "neftune_noise_alpha": alpha}
        Job(tmp_path / f"job-{number}", job.models, job.rows).train(link, training=training)
        losses.append(link.series("loss")[1])
    quiet, weak, strong = losses
    assert 0 < abs(weak - quiet) < abs(strong - quiet)
