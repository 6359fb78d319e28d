"""Errors of the Hugging Face hub's client, translated for the user who named a model."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ftlab.errors import InvalidRequestError, NotFoundError, PermissionDeniedError
from ftlab.files import is_disk_full

if TYPE_CHECKING:
    from httpx2 import Response

UNKNOWN = (
    "The hub has no model of this name, or none that the service may see. Check the name; for a private model start "
    "the service with HF_TOKEN."
)


class HubAwayError(Exception):
    """The hub is unreachable: no connection, or an invalid reply."""


class HubOfflineError(HubAwayError):
    """The service must not use the hub (`HF_HUB_OFFLINE`)."""


@contextmanager
def hub_errors() -> Iterator[None]:
    """Translate an error of the hub's client: raise one of our errors, or `HubAwayError`.

    A disk that is full is not the hub's fault and stays what it is.
    """
    # An edge: a job waits for the answer, whatever another machine sends.
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and is_disk_full(error):
            raise
        raise _translate(error) from None


def _translate(error: Exception) -> Exception:
    """Describe the error by its class: its text may contain addresses."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    match error:
        case GatedRepoError():
            return _denied("The model is gated: accept its licence on the hub and start the service with HF_TOKEN.")
        case RevisionNotFoundError():
            return _not_found("The hub has the model, but not this revision of it.")
        case RepositoryNotFoundError():
            return _not_found(UNKNOWN)
        # Without a token, what is missing and what is private is answered alike.
        case HfHubHTTPError() if error.response.status_code == 401 and not _names_the_token(error.response):
            return _not_found(UNKNOWN)
        case HfHubHTTPError() if error.response.status_code in (401, 403):
            return _denied("The hub does not let the service read this model; check the HF_TOKEN it was started with.")
        case HFValidationError():
            return InvalidRequestError("This is not a valid id for a model on the hub.", "invalid_model_id", "model")
        case OfflineModeIsEnabled():
            return HubOfflineError("HF_HUB_OFFLINE is set")
    return HubAwayError(type(error).__name__)


def _names_the_token(reply: "Response") -> bool:
    return "Invalid credentials" in reply.headers.get("x-error-message", "")


def _denied(message: str) -> PermissionDeniedError:
    return PermissionDeniedError(message, "model_access_denied", "model")


def _not_found(message: str) -> NotFoundError:
    return NotFoundError(message, "model_not_found", "model")
