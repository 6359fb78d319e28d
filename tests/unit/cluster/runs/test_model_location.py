"""Where the model of a reference lies, and how the base model of an adapter on it is named."""

import json
from pathlib import Path

import pytest

from cluster.runs.model_location import ModelLocation, locate
from ftlab.errors import NotFoundError
from ftlab.model_ref import parse_model_ref
from ftlab.settings import Settings
from tests.unit.cluster.coordinator.world import World, add_checkpoint
from tracking.store.records import ModelRecord
from train.plan import LocalBase


def at(world: World, text: str, settings: Settings | None = None) -> ModelLocation:
    with world.store.read() as tx:
        return locate(tx, settings or world.settings, parse_model_ref(text))


def add_model(world: World, model_id: str, job_id: str, folder: str, base: str | None = None) -> Path:
    """A model whose record was written before the data folder moved; an adapter where it names a base model."""
    record = ModelRecord(
        model_id, "local", job_id, "a", "full", "org/name", None, 10, Path("/before") / folder, None, world.now
    )
    with world.store.begin() as tx:
        tx.models.add(record)
    place = world.settings.home / "jobs" / job_id / folder
    place.mkdir(parents=True)
    if base is not None:
        (place / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    return place


def test_a_model_of_a_job_is_named_by_its_own_id(world: World):
    job_id = world.running()
    first, second = add_model(world, "mdl-1", job_id, "model"), add_model(world, "mdl-2", job_id, "model-2")
    newest = LocalBase("model:mdl-2", second, f"ftlab download {job_id}")
    assert at(world, f"job:{job_id}") == at(world, "model:mdl-2") == ModelLocation(str(second), newest)
    assert at(world, "model:mdl-1").local_base == LocalBase("model:mdl-1", first), "a download gives the newest one"


def test_a_checkpoint_is_named_by_its_job_and_step(world: World):
    job_id = world.running()
    add_checkpoint(world, job_id, 10)
    folder = world.settings.home / "jobs" / job_id / "checkpoints" / "step-00000010"
    base = LocalBase(f"job:{job_id}/step-10", folder, f"ftlab download {job_id} --checkpoint step-00000010")
    assert at(world, f"job:{job_id}") == at(world, f"job:{job_id}/step-10") == ModelLocation(str(folder), base)


@pytest.mark.parametrize("base", ["model:mdl-1", "job:{job}/step-10", "folder:org/mine"])
def test_the_base_of_an_adapter_is_found_by_its_name(world: World, base: str):
    job_id = world.running()
    add_checkpoint(world, job_id, 10)
    full = add_model(world, "mdl-1", job_id, "model")
    mine = world.settings.home / "models" / "org" / "mine"
    mine.mkdir(parents=True)
    name = base.format(job=job_id)
    adapter = add_model(world, "mdl-2", world.submit(), "model", name)
    found = at(world, "model:mdl-2")
    assert (found.model, found.local_base and found.local_base.name) == (str(adapter), name)
    assert found.local_base is not None
    checkpoint = full.with_name("checkpoints") / "step-00000010"
    assert found.local_base.folder == {"m": full, "j": checkpoint, "f": mine}[base[0]]


def test_an_adapter_on_a_hub_model_leaves_its_base_to_the_run(world: World):
    adapter = add_model(world, "mdl-1", world.running(), "model", "org/name")
    assert at(world, "model:mdl-1") == ModelLocation(str(adapter))


@pytest.mark.parametrize("base", ["model:mdl-0", "folder:gone", "folder:../models", "folder:/etc"])
def test_the_base_of_an_adapter_is_gone(world: World, base: str):
    (world.settings.home / "models").mkdir()
    add_model(world, "mdl-1", world.running(), "model", base)
    with pytest.raises(NotFoundError, match="The adapter's base model") as caught:
        at(world, "model:mdl-1")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_a_folder_of_the_user_is_named_below_the_folders_of_models(world: World, tmp_path: Path):
    settings = world.settings.model_copy(update={"model_roots": (tmp_path / "roots",)})
    models = settings.home / "models"
    (tmp_path / "elsewhere").mkdir()
    models.mkdir()
    (models / "org--linked").symlink_to(tmp_path / "elsewhere")
    for folder, name in (
        (models / "org--name", "org/name"),
        (models / "org--linked", "org/linked"),
        (models / "name", "folder:name"),
        (models / "a--b" / "c", "folder:a--b/c"),
        (tmp_path / "roots" / "org--name", "folder:org--name"),
        (tmp_path / "roots" / "org" / "name", "folder:org/name"),
    ):
        assert at(world, str(folder), settings) == ModelLocation(str(folder), LocalBase(name, folder))
