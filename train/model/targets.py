"""Whether the modules that `lora.target_modules` and `lora.modules_to_save` name fit a model, by PEFT's rules."""

from collections.abc import Mapping, Sequence

from ftlab.errors import InvalidRequestError
from ftlab.schemas.common import did_you_mean
from train.model.layers import EMBEDDINGS, HEADS, last_part

ALL_LINEAR = "all-linear"
PEFT_PREFIX = "base_model.model."
"""Begins the names of a model's modules once it has an adapter."""
MAX_NAMED = 10
"""Most names of each kind in a message."""


def matches(target: str, module: str) -> bool:
    """Whether a name of `target_modules` means this module (PEFT `check_target_module_exists`)."""
    return module == target or module.endswith(f".{target}")


def check_targets(targets: str | Sequence[str], modules: Mapping[str, bool], *, is_tied: bool) -> None:
    """Raise `InvalidRequestError` (`invalid_config`) unless every target names layers that LoRA can adapt.

    `modules` are those of the model, and whether LoRA can adapt each of them. Adapters on tied embeddings are refused:
    input and output would differ once such an adapter is merged. So is one on the output layer: TRL multiplies with the
    weights of that layer outside of its module, and would never train the adapter.
    """
    if isinstance(targets, str):
        return
    _refuse_prefix(targets, "lora.target_modules")
    if is_tied and (tied := [target for target in targets if last_part(target) in EMBEDDINGS | HEADS]):
        raise _refused(
            f"lora.target_modules names {_quoted(tied)}, and the input and output embeddings of this model are one "
            "matrix (tie_word_embeddings): merging such an adapter would change the model. Leave these names out, or "
            "use tuning 'full'."
        )
    available = sorted({last_part(name) for name, is_adaptable in modules.items() if is_adaptable} - EMBEDDINGS - HEADS)
    missing, unfit = [], []
    for target in targets:
        found = [is_adaptable for name, is_adaptable in modules.items() if matches(target, name)]
        # Some weights are stored without the name of the model's outermost module.
        if not found and not any(target.endswith(f".{name}") for name, adaptable in modules.items() if adaptable):
            missing.append(target)
        elif found and not all(found):
            unfit.append(target)
    if missing:
        hints = "".join(dict.fromkeys(did_you_mean(name, [*available, ALL_LINEAR]) for name in missing[:MAX_NAMED]))
        raise _refused(
            f"lora.target_modules names {_quoted(missing)}, which this model does not have. {_choice(available)}{hints}"
        )
    if unfit:
        raise _refused(
            f"lora.target_modules names {_quoted(unfit)}, where LoRA cannot adapt all that the name means. "
            f"{_choice(available)}"
        )
    outputs = [name for name in modules if last_part(name) in HEADS]
    if heads := [target for target in targets if any(matches(target, name) for name in outputs)]:
        raise _refused(
            f"lora.target_modules names {_quoted(heads)}, the output layer, where an adapter is never trained, because "
            "the loss is computed from the weights of that layer. To train it as a whole, name it in "
            "lora.modules_to_save."
        )


def check_saved(
    names: Sequence[str],
    targets: str | Sequence[str],
    modules: Mapping[str, bool],
    *,
    is_tied: bool,
    quantised_by: str | None,
) -> None:
    """Raise `InvalidRequestError` (`invalid_config`) unless every one of `modules_to_save` can be trained as a whole.

    `modules` are as for `check_targets`. Tied embeddings are refused, because the input and the output would differ
    once one of them has been trained. `quantised_by` is the setting that quantises the linear layers, if any.
    """
    if not names:
        return
    field = "lora.modules_to_save"
    _refuse_prefix(names, field)
    if is_tied and (tied := [name for name in names if last_part(name) in EMBEDDINGS | HEADS]):
        raise _refused(
            f"{field} names {_quoted(tied)}, and the input and output embeddings of this model are one matrix "
            "(tie_word_embeddings): a copy of it that is trained would not be one with the other. Leave these names "
            "out, or use tuning 'full'.",
            field,
        )
    leaves = modules.keys() - {name[:dot] for name in modules for dot in range(len(name)) if name[dot] == "."}
    if missing := [name for name in names if not any(matches(name, leaf) for leaf in leaves)]:
        known = sorted({last_part(leaf) for leaf in leaves})
        hints = "".join(dict.fromkeys(did_you_mean(name, known) for name in missing[:MAX_NAMED]))
        raise _refused(
            f"{field} names {_quoted(missing)}, which this model does not have as a module with weights of its own. It "
            f"has {', '.join(known[:50])}.{hints}",
            field,
        )
    # PEFT also takes a name as the end of a longer one.
    for name in names:
        if longer := sorted({last_part(leaf) for leaf in leaves if leaf.endswith(name) and not matches(name, leaf)}):
            meant = next(leaf for leaf in leaves if matches(name, leaf))
            raise _refused(
                f"{field} names {name!r}, with which the names {_quoted(longer)} end too. Write the whole name of the "
                f"module, as {meant!r}.",
                field,
            )
    with_adapter = set[str]() if isinstance(targets, str) else adapted(targets, modules)
    if both := [name for name in names if any(matches(name, module) for module in with_adapter)]:
        raise _refused(f"{field} and lora.target_modules both name {_quoted(both)}. Leave them out of one.", field)
    inner = {leaf for leaf in leaves if modules[leaf] and last_part(leaf) not in EMBEDDINGS | HEADS}
    if quantised_by and (frozen := [name for name in names if any(matches(name, leaf) for leaf in inner)]):
        raise _refused(
            f"{field} names {_quoted(frozen)}, whose weights are quantised ({quantised_by}) and cannot be trained. "
            "Name them in lora.target_modules.",
            field,
        )


def _refuse_prefix(names: Sequence[str], field: str) -> None:
    """Raise for a name as PEFT prints it: PEFT would not find the module, and not say so where others fit."""
    if name := next((name for name in names if name.startswith(PEFT_PREFIX)), None):
        raise _refused(
            f"{field} names {name!r}, as PEFT prints the module. Leave out {PEFT_PREFIX!r}: "
            f"{name.removeprefix(PEFT_PREFIX)!r}.",
            field,
        )


def adapted(targets: str | Sequence[str], modules: Mapping[str, bool]) -> set[str]:
    """The modules that get an adapter."""
    if isinstance(targets, str):
        return {
            name for name, is_adaptable in modules.items() if is_adaptable and last_part(name) not in EMBEDDINGS | HEADS
        }
    return {name for name in modules if any(matches(target, name) for target in targets)}


def _choice(available: Sequence[str]) -> str:
    return f"Its linear layers are {', '.join(available[:50])}; 'all-linear' means all of them." if available else ""


def _quoted(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:MAX_NAMED])
    return shown + (f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else "")


def _refused(message: str, field: str = "lora.target_modules") -> InvalidRequestError:
    return InvalidRequestError(message.strip(), "invalid_config", field)
