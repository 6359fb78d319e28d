"""The plan of an export of an adapter of the tiny model."""

from pathlib import Path

import pytest

from ftlab.schemas import ExportConfig
from tests.support.tiny_adapters import make_tiny_adapter
from tests.support.tiny_models import make_tiny_model
from train.export.tuned_facts import MeasuredMetric, TunedFacts
from train.plan import ExportPlan, LocalBase

FACTS = TunedFacts(
    job_id="job-1",
    job_name="Support | sums",
    base_model="org/tiny",
    base_revision="local-1",
    tuning="sft, lora",
    step=20,
    datasets=(("sums.jsonl", 1234),),
    config="training:\n  max_steps: 20\n",
    metrics={"eval_loss": 1.23456},
    measured=(MeasuredMetric("held-out", "exact_match", 40, 0.25, 0.75, 0.001),),
    cost="0.12 EUR",
    run_time_s=75.0,
)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return make_tiny_model(tmp_path / "models" / "org--tiny")


@pytest.fixture
def plan(base: Path, tmp_path: Path) -> ExportPlan:
    """The plan of an export of an adapter."""
    adapter = make_tiny_adapter(base, tmp_path / "adapter", seed=3)
    return ExportPlan(
        job_id="job-2",
        attempt=1,
        config=ExportConfig(model="model:mdl-1", prompts=["How do I submit a job?", "What is a queue?"]),
        job_folder=tmp_path / "job-2",
        models_folder=tmp_path / "models",
        cache_folder=tmp_path / "cache",
        threads=1,
        name="model:mdl-1",
        model=str(adapter),
        local_base=LocalBase("org/tiny", base),
        pinned_revision=None,
        facts=FACTS,
    )
