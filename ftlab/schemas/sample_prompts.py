"""Prompts that a run answers while it trains, so that a user can read what the model learns."""

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag, with_config
from typing_extensions import TypedDict

from ftlab.schemas.events import EventPayload, SamplePayload

MAX_SAMPLE_PROMPTS = 20
PromptText = Annotated[str, Field(min_length=1, max_length=32_768)]


@with_config(ConfigDict(extra="forbid", strict=True))
class PromptMessage(TypedDict):
    """One message of a prompt."""

    role: Literal["system", "user", "assistant"]
    content: PromptText


def _form(value: object) -> str:
    return "messages" if isinstance(value, list) else "text"


SamplePrompt = Annotated[
    Annotated[PromptText, Tag("text")]
    | Annotated[list[PromptMessage], Field(min_length=1, max_length=100), Tag("messages")],
    Discriminator(_form),
]
"""A text or a conversation. A model with a chat template reads a text as a message of the user."""
SamplePrompts = Annotated[list[SamplePrompt], Field(min_length=1, max_length=MAX_SAMPLE_PROMPTS)]


def shown_prompt(prompt: str | list[PromptMessage]) -> str:
    """The prompt as events show it: the text, or the last message."""
    return prompt if isinstance(prompt, str) else prompt[-1]["content"]


def answers_by_prompt(payloads: Iterable[EventPayload]) -> dict[int, dict[int, SamplePayload]]:
    """The answers of a job by the number of their prompt and by step; of a repeated step, the newer one counts."""
    answers: dict[int, dict[int, SamplePayload]] = {}
    for payload in payloads:
        if isinstance(payload, SamplePayload):
            answers.setdefault(payload.number, {})[payload.step] = payload
    return {number: dict(sorted(by_step.items())) for number, by_step in sorted(answers.items())}
