"""Look one model up on Hugging Face, in a few short requests. Every call blocks."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from train.model.adapter_files import AdapterFacts, describe_adapter, is_adapter
from train.model.files import CONFIG, ModelFacts, describe, licence_of
from train.model.hub_errors import HubAwayError, hub_errors

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo

REQUEST_TIMEOUT_S = 5.0
"""Short, because a submission waits for it."""
CARD = "README.md"


@dataclass(frozen=True)
class HubModel:
    """A model on Hugging Face, or one that was downloaded from there earlier."""

    revision: str
    """Commit of the requested revision."""
    facts: ModelFacts | AdapterFacts


def ask_hub(repo: str, revision: str | None, endpoint: str | None = None) -> HubModel:
    """Look the model up at `endpoint`, by default the public hub or the variable `HF_ENDPOINT`.

    The token comes from the service's environment. Raises `HubAwayError`, `NotFoundError` (`model_not_found`),
    `PermissionDeniedError` (`model_access_denied`), and what `describe` and `describe_adapter` raise.
    """
    from huggingface_hub import HfApi

    with hub_errors():
        info = HfApi(endpoint).model_info(repo, revision=revision, timeout=REQUEST_TIMEOUT_S, files_metadata=True)
    if info.sha is None:
        raise HubAwayError("an answer without a commit")
    files = _HubFiles(repo, info.sha, info, endpoint)
    if is_adapter(files):
        return HubModel(info.sha, describe_adapter(files))
    if CONFIG in files.sizes:
        # The listing of a gated model is public, but its files are not.
        files.read(CONFIG, 1)
    facts = describe(files, info.safetensors.total if info.safetensors else None)
    return HubModel(info.sha, replace(facts, licence=licence_of(vars(info.card_data)) if info.card_data else None))


class _HubFiles:
    """`ModelFiles` of a repository at one commit."""

    def __init__(self, repo: str, revision: str, info: "ModelInfo", endpoint: str | None) -> None:
        self._repo = repo
        self._revision = revision
        self._endpoint = endpoint
        # `ModelInfo` has the parsed card already.
        self.sizes: Mapping[str, int] = {
            file.rfilename: file.size or 0 for file in info.siblings or () if file.rfilename != CARD
        }

    def read(self, name: str, limit: int) -> bytes:
        """The beginning of the file, without the download cache, which keeps whole files only."""
        from huggingface_hub import get_session, hf_hub_url, hf_raise_for_status
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

        url = hf_hub_url(self._repo, name, revision=self._revision, endpoint=self._endpoint)
        headers = build_hf_headers()
        if limit < self.sizes[name]:
            headers["Range"] = f"bytes=0-{limit - 1}"
        with hub_errors():
            reply = get_session().get(url, headers=headers, timeout=REQUEST_TIMEOUT_S, follow_redirects=True)
            hf_raise_for_status(reply)
        return reply.content[:limit]
