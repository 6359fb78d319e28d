"""Imports transformers, PEFT and TRL without packages that they look for and hardly any run uses.

bitsandbytes compiles functions when it is imported, for which PyTorch loads its compiler: that took a sixth of the
processor time of a start. PEFT imports it for one helper that nothing here calls, and again when it adds an adapter, to
find out whether the layer is one of bitsandbytes. transformers imports scipy for losses of object detection. TRL lists
the files of every installed package to learn two versions. transformers reads the 1,700 files of its models to learn
their names, twice, because it remembers fewer folders than it has.

Quantised models and 8-bit optimizers import bitsandbytes when they need it.
"""

import importlib.metadata
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.abc import Loader
from types import ModuleType
from typing import Any
from unittest.mock import patch

from ftlab.lean_imports import hidden, hook_imports

FOR_MODELS = "transformers.utils.import_utils"
READ_FOLDER, READ_NAMES = "create_import_structure_from_path", "fetch__all__"
"""Functions of that module: which names the files of a folder, and a text, export."""


def _read_models_once(loader: Loader, module: ModuleType) -> None:
    # With other names in a later version, transformers reads them as usual.
    loader.exec_module(module)
    functions: dict[str, Any] = vars(module)
    if (read_folder := getattr(functions.get(READ_FOLDER), "__wrapped__", None)) is not None:
        functions[READ_FOLDER] = cache(read_folder)
    if (read_names := functions.get(READ_NAMES)) is not None:
        functions[READ_NAMES] = lambda text: read_names(text[text.rfind("\n__all__") + 1 :])  # the last line counts


hook_imports({FOR_MODELS: _read_models_once}.get)

import transformers.utils.import_utils as transformers_packages  # noqa: E402  (after the hook)


@contextmanager
def _without(package: str, *answers: Any) -> Iterator[None]:
    """Hide a package from imports; `answers` are functions that remember whether it is installed."""
    _forget(answers)
    try:
        with hidden(package):
            yield
    finally:
        _forget(answers)


def _forget(answers: tuple[Any, ...]) -> None:
    for answer in answers:
        answer.cache_clear()


with _without("scipy", transformers_packages.is_scipy_available):
    import transformers.loss.loss_utils  # noqa: F401

with _without("bitsandbytes", transformers_packages.is_bitsandbytes_available):
    import peft.import_utils as peft_packages
    from peft.tuners.lora import model as lora_model
_forget((peft_packages.is_bnb_available, peft_packages.is_bnb_4bit_available))


def is_bitsandbytes_loaded() -> bool:
    """Whether a layer can be one of bitsandbytes: only if somebody has imported it."""
    return "bitsandbytes" in sys.modules


for _name in ("is_bnb_available", "is_bnb_4bit_available"):
    _asked: Callable[[], bool] | None = getattr(lora_model, _name, None)
    assert _asked is not None, f"PEFT no longer asks {_name} before it adds an adapter"
    setattr(lora_model, _name, is_bitsandbytes_loaded)


class Distributions(dict[str, list[str]]):
    """Names of the distributions that contain a package, read from all that are installed at the first look-up."""

    def __missing__(self, package: str) -> list[str]:
        if not self:
            self.update(importlib.metadata.packages_distributions())
        if package not in self:
            raise KeyError(package)
        return self[package]


# Without the mapping, TRL asks transformers and PEFT, which have been imported, for their versions.
with patch("importlib.metadata.packages_distributions", dict):
    import trl.import_utils as trl_packages
trl_packages.PACKAGE_DISTRIBUTION_MAPPING = Distributions()
