"""Errors of transformers and PEFT while they load a model, translated for the user who named it."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ftlab.errors import FineTuneLabError, InvalidRequestError, NotFoundError, PermissionDeniedError
from train.failures.classify import find_failure

MAX_REASON_CHARS = 300
MAX_NAMED = 3
"""Weights that a message names."""


@contextmanager
def load_errors(what: str, folder: Path) -> Iterator[None]:
    """Raise an error of ours for files in `folder` that a library cannot load; `what` is their name in the message.

    Libraries raise anything for damaged files: `KeyError`, `TypeError`, `AssertionError`. An error with a cause of its
    own, such as a full disk or a lack of memory, is raised unchanged.
    """
    # An edge: nothing but the call of the library belongs into the block.
    try:
        yield
    except Exception as error:
        if not isinstance(error, FileNotFoundError) and find_failure(error, folder) is not None:
            raise
        raise _translate(error, what, folder) from error


def _translate(error: Exception, what: str, folder: Path) -> FineTuneLabError:
    if not folder.is_dir():
        return NotFoundError(f"The folder of {what} was removed: {folder}.", "model_not_found", "model")
    text = " ".join(str(error).split())
    if "trust_remote_code" in text:
        return PermissionDeniedError(
            f"{_begin(what)} needs code of its own to run, and this service never runs code that comes with a model.",
            "remote_code_not_allowed",
            "model",
        )
    reason = f"{type(error).__name__}: {text}"[:MAX_REASON_CHARS].rstrip(".")
    if isinstance(error, ImportError):
        return InvalidRequestError(
            f"{_begin(what)} needs a library that the service does not have ({reason}). Install it where the service "
            "runs, or choose another model.",
            "unsupported_model",
            "model",
        )
    return model_invalid(f"{_begin(what)} cannot be loaded ({reason}). Fetch the model again, or choose another one.")


def check_loaded(found: Mapping[str, Any], what: str, *, new: Collection[str] = ()) -> None:
    """Raise `InvalidRequestError` (`model_invalid`) where weights of the model were not in its files.

    `found` is transformers' report of the load. It gives such weights random numbers, and only logs a warning. `new`
    are weights that begin with random numbers.
    """
    if missing := set(found["missing_keys"]) - set(new):
        raise model_invalid(
            f"The files of {what} lack {named(missing)}, which the model in config.json has. Fetch the model again, or "
            "correct config.json (num_hidden_layers, tie_word_embeddings, architectures)."
        )
    if unfit := found["mismatched_keys"]:
        name, stored, expected = min(unfit)
        raise model_invalid(
            f"The files of {what} do not match its config.json: {name} has the shape {_shape(stored)}, and "
            f"{_shape(expected)} follows from config.json. Fetch the model again."
        )


def model_invalid(message: str) -> InvalidRequestError:
    return InvalidRequestError(message, "model_invalid", "model")


def named(weights: Collection[str]) -> str:
    """The number of weights, with the first names."""
    shown = ", ".join(sorted(weights)[:MAX_NAMED]) + (", ..." if len(weights) > MAX_NAMED else "")
    return f"{len(weights)} {'weight' if len(weights) == 1 else 'weights'} ({shown})"


def _begin(what: str) -> str:
    return what[0].upper() + what[1:]


def _shape(sizes: Collection[int]) -> str:
    return "x".join(map(str, sizes))
