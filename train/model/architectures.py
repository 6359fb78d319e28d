"""The model types that the installed transformers can train as causal language models.

Read from the package's source: importing it costs seconds and pulls torch in, which the API must not.
"""

import ast
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

MAPPING = "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES"


@lru_cache(maxsize=1)
def causal_models() -> dict[str, str]:
    """The class of each `model_type`, as `AutoModelForCausalLM` chooses it."""
    package = find_spec("transformers")
    assert package is not None
    assert package.origin is not None
    source = Path(package.origin).parent / "models" / "auto" / "modeling_auto.py"
    for node in ast.parse(source.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == MAPPING:
            assert isinstance(node.value, ast.Call)
            return {name: _first(classes) for name, classes in ast.literal_eval(node.value.args[0])}
    raise AssertionError(f"transformers has no {MAPPING}")


def _first(classes: str | tuple[str, ...]) -> str:
    return classes if isinstance(classes, str) else classes[0]
