"""The model types that the installed transformers can train as causal language models.

Read from the package's source: importing it costs seconds and pulls torch in, which the API must not.
"""

import ast
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

CAUSAL, CLASSIFIER = "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES", "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES"


def causal_models() -> dict[str, str]:
    """The class of each `model_type`, as `AutoModelForCausalLM` chooses it."""
    return _classes(CAUSAL)


def classifiers() -> dict[str, str]:
    """The class of each `model_type`, as `AutoModelForSequenceClassification` chooses it: those of reward models."""
    return _classes(CLASSIFIER)


@lru_cache(maxsize=2)
def _classes(mapping: str) -> dict[str, str]:
    package = find_spec("transformers")
    assert package is not None
    assert package.origin is not None
    source = Path(package.origin).parent / "models" / "auto" / "modeling_auto.py"
    for node in ast.parse(source.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == mapping:
            assert isinstance(node.value, ast.Call)
            return {name: _first(classes) for name, classes in ast.literal_eval(node.value.args[0])}
    raise AssertionError(f"transformers has no {mapping}")


def _first(classes: str | tuple[str, ...]) -> str:
    return classes if isinstance(classes, str) else classes[0]
