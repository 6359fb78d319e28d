"""Description of a base model from its files, without loading it: for a local folder and for the hub alike."""

import json
from collections import ChainMap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import Any, Protocol

import yaml

from ftlab.errors import InvalidRequestError, NotFoundError, PermissionDeniedError
from train.model.architectures import causal_models, classifiers
from train.model.layers import ModelLayers
from train.model.safetensors_header import HeaderError, WeightHeader, read_header
from train.model.shape import ModelShape

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PICKLE_PATTERNS = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")
SMALL_FILES = ("*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken")
"""Files that transformers needs besides the weights."""
VOCABULARY_FILES = {"tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json"}
"""Files of which one, or a `*.tiktoken` file, is enough for a tokenizer."""
TEMPLATE_FOLDER = "additional_chat_templates"
TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json")
MAX_SMALL_BYTES = 32 * 1024**2
MAX_CARD_BYTES = 64 * 1024


class ModelFiles(Protocol):
    """The files at the top of a model's folder."""

    @property
    def sizes(self) -> Mapping[str, int]:
        """Bytes of every file by its name."""
        ...

    def read(self, name: str, limit: int) -> bytes:
        """The first `limit` bytes of a file. Raises `OSError`."""
        ...


@dataclass(frozen=True)
class ModelFacts:
    """A base model that can be loaded, as its files describe it."""

    architecture: str
    parameters: int | None
    """Numbers in the weights as they are stored; `None` where that is not known."""
    size_bytes: int
    """Bytes of the files that training reads, which are the ones that are fetched."""
    has_chat_template: bool
    licence: str | None = None
    warnings: tuple[str, ...] = ()
    layers: ModelLayers | None = field(default=None, compare=False, repr=False)
    """`None` where the headers of the weights were not read."""
    shape: ModelShape | None = field(default=None, compare=False, repr=False)
    """`None` for a model whose memory cannot be estimated."""
    has_classifier: bool = field(default=True, compare=False, repr=False)
    """Whether transformers has a class of this model type that scores a text."""
    tokens_beyond: Mapping[int, str] = field(default_factory=dict, compare=False, repr=False)
    """Tokens without a row in the embedding, by their ids; only of a folder on this machine."""


def wanted_files(names: Iterable[str]) -> list[str]:
    """The files that training reads: one set of safetensors weights, tokenizer, configs; never pickles, never code."""
    there = set(names)
    if ADAPTER_CONFIG in there:
        weights = {ADAPTER_WEIGHTS} & there
    else:
        weights = (
            {WEIGHTS} if WEIGHTS in there else {name for name in there if fnmatch(name, "model-*-of-*.safetensors")}
        )
    small = {name for name in there if "/" not in name and any(fnmatch(name, pattern) for pattern in SMALL_FILES)}
    templates = {name for name in there if fnmatch(name, f"{TEMPLATE_FOLDER}/*.jinja")}
    return sorted(weights | small | templates)


def describe(files: ModelFiles, parameters: int | None = None) -> ModelFacts:
    """Check that the files are a model that can be trained, and describe it.

    `parameters` is their number if it was already counted from the weights' headers; without it the headers are read
    here. Raises `NotFoundError` (`model_not_found`) where there is no model, `PermissionDeniedError`
    (`remote_code_not_allowed`), and `InvalidRequestError`: `unsafe_weights` for pickles, `unsupported_model` for an
    architecture that cannot be trained, `model_invalid` for files that are damaged or missing.
    """
    _check_kind(files)
    weights = _weight_files(files)
    architecture, warnings = _architecture(files)
    _check_tokenizer(files)
    layers, config = None, read_json(files, CONFIG)
    if parameters is None:
        headers = _headers(files, weights)
        parameters = sum(header.num_parameters for header in headers)
        shapes = dict(ChainMap(*(header.shapes for header in headers)))
        layers = ModelLayers.read(config, shapes)
        shape = ModelShape.read(config, shapes)
    else:
        shape = ModelShape.read(config, None)
    has_template = _has_chat_template(files)
    if not has_template:
        warnings.append(
            "The model has no chat template, so the messages of a row are joined as plain lines; an instruct model "
            "of the same family has one."
        )
    return ModelFacts(
        architecture,
        parameters,
        sum(files.sizes[name] for name in wanted_files(files.sizes)),
        has_template,
        _licence(files),
        tuple(warnings),
        layers,
        shape,
        config.get("model_type") in classifiers(),
    )


def read_json(files: ModelFiles, name: str) -> dict[str, Any]:
    """A JSON object among the files. Raises `InvalidRequestError` (`model_invalid`) if it is not one."""
    try:
        if files.sizes[name] <= MAX_SMALL_BYTES:
            document = json.loads(files.read(name, MAX_SMALL_BYTES))
            if isinstance(document, dict):
                return document
    except (OSError, ValueError, RecursionError):
        pass
    raise invalid_model(f"{name} of the model cannot be read as a JSON object; fetch the model again.")


def _check_kind(files: ModelFiles) -> None:
    if CONFIG in files.sizes:
        return
    if ADAPTER_CONFIG in files.sizes:
        raise unsupported_model(
            "This is an adapter, and a base model is needed here. Name the model that it was trained on."
        )
    if any(name.endswith(".gguf") for name in files.sizes):
        raise unsupported_model("The model is in the GGUF format; name the repository with its safetensors weights.")
    raise NotFoundError("The model has no config.json, so there is nothing to train here.", "model_not_found", "model")


def _architecture(files: ModelFiles) -> tuple[str, list[str]]:
    config = read_json(files, CONFIG)
    model_type = config.get("model_type")
    known = causal_models()
    if not isinstance(model_type, str) or model_type not in known:
        _refuse_type(config)
    stated = config.get("architectures")
    named = stated[0] if isinstance(stated, list) and stated and isinstance(stated[0], str) else None
    return (named or known[str(model_type)])[:100], _quantisation_warnings(config)


def _refuse_type(config: dict[str, Any]) -> None:
    if "auto_map" in config:
        raise PermissionDeniedError(
            "The model needs code of its own to run, and this service never runs code that comes with a model.",
            "remote_code_not_allowed",
            "model",
        )
    raise unsupported_model(
        "The model_type in config.json is not one that the installed transformers can train as a causal language model."
    )


def _quantisation_warnings(config: dict[str, Any]) -> list[str]:
    if "quantization_config" not in config:
        return []
    return [
        "The weights are quantised already, which few formats can be trained from; prefer the unquantised model, "
        "with load_in_4bit where memory is short."
    ]


def _check_tokenizer(files: ModelFiles) -> None:
    if not VOCABULARY_FILES & files.sizes.keys() and not any(name.endswith(".tiktoken") for name in files.sizes):
        raise invalid_model("The model has no tokenizer (tokenizer.json or tokenizer.model) beside its weights.")


def _weight_files(files: ModelFiles) -> list[str]:
    """The weight files that transformers loads, all of them there."""
    if WEIGHTS in files.sizes:
        return [WEIGHTS]
    if INDEX in files.sizes:
        shards = sorted(set(_weight_map(files).values()))
        missing = [name for name in shards if name not in files.sizes]
        if missing or not shards:
            example = f", among them {missing[0]!r}" if missing and fnmatch(missing[0], "model-*.safetensors") else ""
            raise invalid_model(
                f"{len(missing)} of the {len(shards)} weight files that {INDEX} names are missing{example}; "
                "fetch the model again."
            )
        return shards
    if any(name.endswith(".safetensors") for name in files.sizes):
        raise invalid_model(
            f"The model has safetensors files, but neither {WEIGHTS} nor {INDEX}, which training looks for."
        )
    if has_any(files, PICKLE_PATTERNS):
        raise InvalidRequestError(
            "The model has pickle weights only, which can run code when read; convert them to safetensors.",
            "unsafe_weights",
            "model",
        )
    raise NotFoundError("The model has no safetensors weights.", "model_not_found", "model")


def _weight_map(files: ModelFiles) -> dict[str, str]:
    found = read_json(files, INDEX).get("weight_map")
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found.values()):
        raise invalid_model(f"{INDEX} has no weight_map; fetch the model again.")
    return found


def _headers(files: ModelFiles, weights: list[str]) -> list[WeightHeader]:
    headers = {name: read_weight_header(files, name) for name in weights}
    if weights != [WEIGHTS]:
        lost = [tensor for tensor, name in _weight_map(files).items() if tensor not in headers[name].shapes]
        if lost:
            raise invalid_model(
                f"{len(lost)} weights that {INDEX} names are not in their files; fetch the model again."
            )
    return list(headers.values())


def has_any(files: ModelFiles, patterns: Iterable[str]) -> bool:
    """Whether a file has a name that one of the patterns matches."""
    return any(fnmatch(name, pattern) for name in files.sizes for pattern in patterns)


def read_weight_header(files: ModelFiles, name: str) -> WeightHeader:
    """The header of a weight file. Raises `InvalidRequestError` (`model_invalid`) for a file that is damaged."""
    try:
        return read_header(lambda limit: files.read(name, limit), files.sizes[name])
    except (OSError, HeaderError) as error:
        why = str(error) if isinstance(error, HeaderError) else "it cannot be opened"
        shown = name if len(name) < 100 else "A weight file"
        raise invalid_model(f"{shown} is not a whole safetensors file: {why}. Fetch the model again.") from None


def _has_chat_template(files: ModelFiles) -> bool:
    if any(name in files.sizes for name in TEMPLATE_FILES):
        return True
    if "tokenizer_config.json" not in files.sizes:
        return False
    return bool(read_json(files, "tokenizer_config.json").get("chat_template"))


def _licence(files: ModelFiles) -> str | None:
    """The values in the front matter of the model's card."""
    if "README.md" not in files.sizes:
        return None
    try:
        lines = files.read("README.md", MAX_CARD_BYTES).decode("utf-8", "replace").splitlines()
        end = lines.index("---", 1) if lines[:1] == ["---"] else 0
        card = yaml.safe_load("\n".join(lines[1:end]))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return None
    return licence_of(card)


def licence_of(card: object) -> str | None:
    """The licence in a model card's front matter; one that has a name of its own by that name."""
    if not isinstance(card, Mapping):
        return None
    named = card.get("license_name") if card.get("license") == "other" else None
    licence = named or card.get("license")
    return licence[:100] if isinstance(licence, str) else None


def invalid_model(message: str) -> InvalidRequestError:
    """The error for a model whose files contradict each other or cannot be read."""
    return InvalidRequestError(message, "model_invalid", "model")


def unsupported_model(message: str) -> InvalidRequestError:
    """The error for a model of a form that cannot be trained here."""
    return InvalidRequestError(message, "unsupported_model", "model")
