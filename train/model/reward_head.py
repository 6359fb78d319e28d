"""The head of a reward model: a linear layer that gives one number for a text, in place of the language-model head.

Its name is the one that transformers gives it in every model that classifies a text by its last token.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftlab.errors import InvalidRequestError
from ftlab.schemas.methods import TrainingMethod
from train.model.files import ADAPTER_CONFIG, CONFIG, ModelFacts
from train.model.layers import HEADS, last_part

HEAD = "score"
HEAD_WEIGHT = f"{HEAD}.weight"
TASK_TYPE = "SEQ_CLS"
"""PEFT's task type of an adapter with such a head."""
PEFT_HEADS = frozenset({"classifier", HEAD})
"""Names that PEFT adds to `modules_to_save` of every adapter of this task type."""


def check_method(method: TrainingMethod, facts: ModelFacts) -> None:
    """Raise `InvalidRequestError` (`invalid_config`) for a model without the head that the method trains.

    Also for a model type to which transformers cannot give the head of a reward model.
    """
    is_scoring = is_scoring_class(facts.architecture)
    if is_scoring and not method.scores_texts:
        raise no_language_model(method, facts.architecture)
    if method.scores_texts and not is_scoring and not facts.has_classifier:
        raise InvalidRequestError(
            f"method '{method.type}' needs a model type to which transformers can give a head that scores texts, and "
            f"{facts.architecture} is not of one; choose another base model.",
            "invalid_config",
            "method",
        )


def check_files(method: TrainingMethod, folder: Path) -> None:
    """Raise `InvalidRequestError` (`invalid_config`) for a method that trains no reward model, on files of one.

    They are a whole model or an adapter.
    """
    if not method.scores_texts and (is_reward_adapter(folder) or has_own_head(folder)):
        raise no_language_model(method, "the model that the job starts from")


def is_scoring_class(architecture: str) -> bool:
    """Whether a class of transformers has a head for scores or classes."""
    return architecture.endswith("ForSequenceClassification")


def is_reward_adapter(folder: Path) -> bool:
    """Whether the adapter in a folder was trained with such a head."""
    return _json(folder / ADAPTER_CONFIG).get("task_type") == TASK_TYPE


def has_own_head(folder: Path) -> bool:
    """Whether the weights in a model's folder include the head; otherwise it begins with random numbers."""
    architectures = _json(folder / CONFIG).get("architectures")
    return isinstance(architectures, list) and any(is_scoring_class(str(name)) for name in architectures)


def with_head(modules: Mapping[str, bool]) -> dict[str, bool]:
    """Modules of a language model as they are after its head was replaced. LoRA does not adapt the new head."""
    return {name: fits for name, fits in modules.items() if last_part(name) not in HEADS} | {HEAD: False}


def _json(file: Path) -> dict[str, Any]:
    """A JSON object, or nothing where there is none."""
    try:
        document = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def no_language_model(method: TrainingMethod, what: str) -> InvalidRequestError:
    """The error for a method that trains no reward model, on one; `what` names that."""
    return InvalidRequestError(
        f"method '{method.type}' trains a language model, and {what} is a reward model: it scores texts, and has no "
        "language-model head. Start from the model that it was trained from, or use method 'reward'.",
        "invalid_config",
        "method",
    )
