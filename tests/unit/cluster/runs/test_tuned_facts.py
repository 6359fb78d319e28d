"""What a model card says about the model."""

from dataclasses import replace
from pathlib import Path

from cluster.runs.tuned_facts import tuned_facts
from ftlab.model_ref import parse_model_ref
from ftlab.settings import Settings
from tests.unit.tracking.samples import NOW, add_job, model, point, start
from tracking.store import Store

STEPS = range(1, 6002)
STEP = 5000


def test_the_losses_are_those_of_its_step_in_a_long_job(store: Store, tmp_path: Path):
    """Charts are thinned, and a card must not be."""
    ref = start(store, add_job(store).id)
    with store.begin() as tx:
        tx.metrics.add(
            [point(ref.id, step, float(step), name=name) for name in ("loss", "eval_loss") for step in STEPS]
        )
        tx.models.add(replace(model(ref.id, "mdl-1"), step=STEP))
    with store.read() as tx:
        facts = tuned_facts(tx, Settings(home=tmp_path), parse_model_ref("model:mdl-1"), NOW)
    assert facts.metrics == {"loss": STEP, "eval_loss": STEP}
