"""The tokenizer of a base model: found without its weights, and loaded."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ftlab.errors import InvalidRequestError, ServiceUnavailableError
from train.model.base_model import (
    BaseModel,
    base_of_adapter,
    check_hub_adapter,
    find_model,
    hub_revision,
    is_in_models_folder,
)
from train.model.files import ADAPTER_CONFIG, CONFIG
from train.model.hub_errors import HubAwayError, hub_errors
from train.model.load_errors import load_errors
from train.plan import LocalBase

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TOKENIZER_FILES = (
    CONFIG, "tokenizer*", "*.model", "*.tiktoken", "vocab*", "merges.txt", "added_tokens.json",
    "special_tokens_map.json", "chat_template*", "additional_chat_templates/*",
)  # fmt: skip
"""The files of a base model that decide the tokens, as patterns."""


def find_tokenizer(
    model: str, models_folder: Path, *, pinned: str | None = None, local: LocalBase | None = None
) -> BaseModel:
    """Find a folder with the model's tokenizer; of a hub model only these few files are fetched.

    `model`, `pinned` and `local` are as for `train.model.base_model.find_model`. Raises what that raises.
    """
    if model.startswith("/"):
        if (named := base_of_adapter(Path(model))) is not None:
            base = find_tokenizer(str(local.folder) if local else named, models_folder, pinned=pinned, local=local)
            return replace(base, adapter=Path(model))
        return find_model(model, models_folder, local=local)
    name, _, revision = model.partition("@")
    if is_in_models_folder(model, models_folder, pinned):
        return find_model(model, models_folder, pinned=pinned)
    folder = _fetch(name, hub_revision(model, pinned))
    if (named := base_of_adapter(folder)) is None:
        return BaseModel(name, folder, folder.name)
    check_hub_adapter(revision, named)
    return replace(find_tokenizer(named, models_folder, pinned=pinned), adapter=folder)


def load_tokenizer(base: BaseModel) -> "PreTrainedTokenizerBase":
    """Load the tokenizer in `base.tokenizer_folder`; where it has no padding token, the end of text is used.

    Raise what `load_errors` raises for files that cannot be loaded, and `InvalidRequestError` with code
    `tokenizer_unsupported` for a tokenizer that has neither of these tokens.
    """
    from transformers import AutoTokenizer

    tokenizer: PreTrainedTokenizerBase
    with load_errors(f"the tokenizer of {base.name}", base.tokenizer_folder):
        tokenizer = AutoTokenizer.from_pretrained(base.tokenizer_folder, local_files_only=True, trust_remote_code=False)
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token_id is None:
            raise InvalidRequestError(
                f"The tokenizer of {base.name} has neither a pad_token nor an eos_token, so rows cannot be ended or "
                "padded. Name them in its tokenizer_config.json.",
                "tokenizer_unsupported",
                "model",
            )
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def special_tokens(tokenizer: "PreTrainedTokenizerBase") -> dict[int, str]:
    """The tokens that are read as markup also where a message has their text, by id.

    That includes those without a role, such as `<|eot_id|>` of Llama 3, which `all_special_tokens` leaves out.
    """
    added = {number: token.content for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    return added | dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))


def unknown_token_id(tokenizer: "PreTrainedTokenizerBase") -> int | None:
    """The id of the token for characters that the tokenizer has no token for; `None` where there is no such token.

    A token that is also written for another reason, such as the end of a text, does not count.
    """
    number: int | None = tokenizer.unk_token_id
    return None if number in (tokenizer.eos_token_id, tokenizer.bos_token_id) else number


def _fetch(repo: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download, try_to_load_from_cache

    try:
        with hub_errors():
            return Path(snapshot_download(repo, revision=revision, allow_patterns=[*TOKENIZER_FILES, ADAPTER_CONFIG]))
    except HubAwayError as away:
        for name in (ADAPTER_CONFIG, CONFIG):
            cached = try_to_load_from_cache(repo, name, revision=revision)
            if isinstance(cached, str):
                return Path(cached).parent
        raise ServiceUnavailableError(
            f"The tokenizer of {repo} is not on this machine, and the model hub is unreachable ({away}). Try again "
            "when it is reachable, or put the model in the models folder.",
            "model_hub_away",
            "model",
        ) from None
