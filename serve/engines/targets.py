"""From the reference of a model to what answers for it: a base model in an engine, and perhaps an adapter on it."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ftlab.errors import FineTuneLabError, InvalidRequestError
from ftlab.model_ref import ModelRef
from ftlab.settings import Settings
from ftlab.vllm_environment import find_vllm
from serve.context import Services
from serve.models.base_model import Checked, HubAnswer, Tuned, check, find_tuned, job_of_folder
from tracking.store import Transaction
from train.inference.backend import adapter_obstacle
from train.model.base_model import base_of_adapter, fingerprint, local_folder
from train.model.files import ADAPTER_CONFIG
from train.model.reward_head import has_own_head, is_reward_adapter


@dataclass(frozen=True)
class Target:
    """What answers for a model."""

    model: str
    """Base model of the engine, as a job's config names it."""
    revision: str | None
    """Revision of the base model that the engine must load; `None` where it is not known yet."""
    load_in_4bit: bool = False
    load_in_8bit: bool = False
    adapter: Path | None = None
    """Folder of the adapter that answers on the base model."""
    base_job_id: str | None = None
    """The job whose files the engine loads."""
    needs_own_engine: bool = False
    """Whether the adapter is one that vLLM cannot compute."""

    @property
    def is_shared(self) -> bool:
        """Whether every owner may use the base model, so that all of them share its engine."""
        return self.base_job_id is None and not self.model.startswith(("job:", "model:"))

    def backend(self, settings: Settings) -> Literal["auto", "own", "vllm"]:
        """The backend of its engine: the adapters that vLLM cannot compute have an engine beside that of vLLM."""
        if settings.inference_backend == "auto" and self.needs_own_engine and find_vllm(settings.inference_folder):
            return "own"
        return settings.inference_backend

    def key(self, settings: Settings) -> str:
        """What the requests that share an engine have in common."""
        parts = [self.model, self.revision, self.load_in_4bit, self.load_in_8bit, self.backend(settings)]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def find_target(services: Services, owner: str, reference: str, answer: HubAnswer) -> Target:
    """What answers for a model reference of the owner. Blocks on the store and on the model's files.

    `answer` is what Hugging Face says about it. Raise what `serve.models.base_model.check` and `find_tuned` raise, and
    `InvalidRequestError` (`unsupported_model`) for a model that does not generate text.
    """
    checked = check(reference, services.settings, answer)
    if checked.ref.kind in ("job", "model"):
        with services.store.read() as tx:
            tuned = find_tuned(checked.ref, tx, services.settings, owner)
            assert tuned is not None
            return _of_tuned(tx, tuned, services)
    return _of_base(services, checked)


def _of_tuned(tx: Transaction, tuned: Tuned, services: Services) -> Target:
    folder = tuned.folder
    _refuse_reward_models(folder)
    if not (folder / ADAPTER_CONFIG).is_file():
        # The files of a job are never changed; another delivery has another folder.
        return Target(str(tuned.ref), fingerprint(folder), base_job_id=tuned.job_id)
    base = tuned.local_base
    name = base_of_adapter(folder) or ""
    config = tx.jobs.get(tuned.job_id).training_config
    # A folder below the model roots has a name that only its adapters use.
    model = str(base.folder) if base is not None and not name.startswith(("job:", "model:")) else name
    revision = fingerprint(base.folder) if base is not None else _revision(services, name, tuned.base_revision)
    base_job = job_of_folder(ModelRef("path", str(base.folder)), services.settings) if base is not None else None
    return Target(
        model,
        revision,
        load_in_4bit=config is not None and config.load_in_4bit,
        load_in_8bit=config is not None and config.load_in_8bit,
        adapter=folder,
        base_job_id=base_job,
        needs_own_engine=adapter_obstacle(folder) is not None,
    )


def _of_base(services: Services, checked: Checked) -> Target:
    """A base model, or an adapter that was not trained by this service."""
    folder = _folder_of(services, checked)
    if checked.adapter is None:
        if folder is not None:
            _refuse_reward_models(folder)
            owner_job = job_of_folder(checked.ref, services.settings)
            return Target(str(checked.ref), fingerprint(folder), base_job_id=owner_job)
        return Target(str(checked.ref), checked.revision)
    if folder is None:
        raise InvalidRequestError(
            "This adapter is on the hub only; download it to the models folder to chat with it.",
            "unsupported_model",
            "model",
        )
    _refuse_reward_models(folder)
    base = checked.base or ""
    return Target(
        base,
        _revision(services, base, checked.revision),
        adapter=folder,
        needs_own_engine=adapter_obstacle(folder) is not None,
    )


def _folder_of(services: Services, checked: Checked) -> Path | None:
    """The folder of a model that is on this machine."""
    if checked.ref.kind == "path":
        return Path(checked.ref.id).resolve()
    return _models_folder(services, checked.ref.id) if checked.is_here and checked.ref.revision is None else None


def _revision(services: Services, base: str, known: str | None) -> str | None:
    """The revision of an adapter's base model, the same as where the base model is asked by its name."""
    folder = Path(base) if base.startswith("/") else _models_folder(services, base)
    try:
        return fingerprint(folder)
    except FineTuneLabError:  # it is not on this machine
        return known


def _models_folder(services: Services, name: str) -> Path:
    return local_folder(name, services.settings.home / "models")


def _refuse_reward_models(folder: Path) -> None:
    if is_reward_adapter(folder) or has_own_head(folder):
        raise InvalidRequestError(
            "This is a reward model: it scores texts, and cannot answer. Chat with the model that it was trained from.",
            "unsupported_model",
            "model",
        )
