"""Artifacts of exports that were written without a model."""

from pathlib import Path

from ftlab.schemas import ExportConfig
from ftlab.schemas.export import ExportFormat
from ftlab.schemas.export_results import ARTIFACTS_FOLDER, RECEIPT_FILE, Receipt
from tests.unit.tracking.samples import NOW
from tracking.store import Store
from train.checkpoints.checkpoint_files import commit

CARD = "---\nbase_model: org/base\nlicense: apache-2.0\ntags:\n- sft\n---\n\n# Sums\n"
RECEIPT = Receipt(
    format="gguf",
    weight_type="q8_0",
    reference="model:mdl-1",
    prompts=["Why?"],
    num_tokens=4,
    max_difference=0.5,
    bound=6.0,
    typical_difference=0.05,
    typical_bound=0.4,
    spread=1.0,
    top1_agreement=1.0,
    same_tokens=True,
    is_good=True,
)


def add_export(store: Store, job_id: str, model: str = "model:mdl-1", *, owner: str = "local") -> None:
    """A queued export."""
    config = ExportConfig(model=model, formats=["gguf"])
    with store.begin() as tx:
        tx.jobs.add(job_id, owner=owner, name=f"{job_id}-name", config=config, now=NOW)


def write_artifact(
    home: Path, job_id: str, name: str = "gguf-q8_0", *, each: ExportFormat = "gguf", files: dict[str, bytes]
) -> Path:
    """A committed artifact with a good receipt."""
    folder = home / "jobs" / job_id / ARTIFACTS_FOLDER
    aside = folder / f".tmp-{name}"
    aside.mkdir(parents=True)
    for file, content in files.items():
        (aside / file).write_bytes(content)
    (aside / "README.md").write_text(CARD)
    (aside / RECEIPT_FILE).write_text(RECEIPT.model_copy(update={"format": each}).model_dump_json())
    commit(aside, folder / name, job_id=job_id, attempt=1, step=2, samples=4, metrics={})
    return folder / name
