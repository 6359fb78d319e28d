"""What can be exported in which format. Light: a submission asks before anything is loaded."""

from ftlab.errors import InvalidRequestError

ARCHITECTURES = {
    "gemma2": "gemma2",
    "gemma3_text": "gemma3",
    "llama": "llama",
    "mistral": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
}
"""llama.cpp's name of the architecture that it computes each `model_type` by."""


def check_model_type(model_type: str) -> None:
    """Raise `InvalidRequestError` (`unsupported_model`) for a `model_type` that is not written to GGUF."""
    if model_type not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise gguf_unsupported(f"it is of the type '{model_type}', and those that are written are {known}")


def gguf_unsupported(why: str) -> InvalidRequestError:
    """The error for a model that is not written to GGUF."""
    return InvalidRequestError(
        f"The model cannot be written to GGUF: {why}. Export the format 'merged' instead.",
        "unsupported_model",
        "formats",
    )


def no_quantizer() -> InvalidRequestError:
    """The error for K-quants where no program makes them."""
    return InvalidRequestError(
        "This service has no program for K-quants: its setting llama_quantize names that of llama.cpp. Export q8_0 or "
        "16 bits instead.",
        "unsupported_model",
        "gguf_type",
    )


def no_adapter() -> InvalidRequestError:
    """The error for the adapter of a model that was trained as a whole."""
    return InvalidRequestError(
        "The model was trained as a whole and has no adapter. Export the format 'merged' instead.",
        "unsupported_model",
        "formats",
    )
