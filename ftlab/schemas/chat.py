"""Requests and replies of `/v1/chat/completions` and `/v1/completions`, as OpenAI's API reference defines them."""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from ftlab.schemas.common import StrictModel, WireModel

MAX_CHOICES = 16
MAX_TOP_LOGPROBS = 20
DEFAULT_COMPLETION_TOKENS = 16
"""Tokens of a completion that names no `max_tokens`; a chat answer may fill the context of the model."""

ADAPTER_FIELD = "adapter"
"""Field beside those of OpenAI in requests of the API to an engine: the folder of the adapter that answers."""

SALT_FIELD = "cache_salt"
"""Field beside it: separates what the engine remembers of the prompts of one owner from those of others."""

FinishReason = Literal["stop", "length", "tool_calls"]
StopText = Annotated[str, StringConstraints(min_length=1, max_length=200)]
StopTexts = StopText | Annotated[list[StopText], Field(max_length=4)]
TokenIds = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, max_length=1_000_000)]
PromptText = Annotated[str, Field(min_length=1)]
Prompts = PromptText | TokenIds | Annotated[list[PromptText] | list[TokenIds], Field(min_length=1, max_length=16)]


class StreamOptions(StrictModel):
    """What a stream contains besides the answer."""

    include_usage: bool | None = None
    """Send one more chunk, with the numbers of tokens."""
    include_obfuscation: Literal[False] | None = None
    """Must be `false`: chunks are not padded."""


class ResponseFormat(StrictModel):
    """The form of an answer."""

    type: Literal["text"] = "text"
    """`text` only: answers are not constrained to JSON."""


class SamplingRequest(StrictModel):
    """Fields that both kinds of completions have."""

    model: str = Field(min_length=1, max_length=600)
    """`ft:...`, `ft:...:ckpt-step-N`, `job:NAME`, `job:NAME/step-N`, `model:ID`, or the name of a base model."""
    stream: bool | None = None
    """Send the answer while it is generated, as server-sent events."""
    stream_options: StreamOptions | None = None
    """Only with `stream`."""
    temperature: float | None = Field(default=None, ge=0.0, le=2.0)
    """0 always takes the most likely token. Default: 1."""
    top_p: float | None = Field(default=None, gt=0.0, le=1.0)
    """Sample among the most likely tokens that have this probability together."""
    top_k: int | None = Field(default=None, ge=1)
    """Sample among this many most likely tokens. Not a field of OpenAI's."""
    n: int | None = Field(default=None, ge=1, le=MAX_CHOICES)
    """Number of answers."""
    stop: StopTexts | None = None
    """Texts that end an answer, which does not contain them."""
    seed: int | None = Field(default=None, ge=-(2**63), le=2**63 - 1)
    """Seed of the random choices of this request; the same request gets the same answer."""
    presence_penalty: float | None = Field(default=None, ge=-2.0, le=2.0)
    """Subtracted from the logits of all tokens that the answer contains."""
    frequency_penalty: float | None = Field(default=None, ge=-2.0, le=2.0)
    """Subtracted from the logits of a token for each time that the answer contains it."""
    logit_bias: dict[str, Annotated[float, Field(ge=-100.0, le=100.0)]] | None = Field(default=None, max_length=1024)
    """Added to the logits of tokens, by their ids."""
    user: str | None = Field(default=None, max_length=512)
    """Not used."""

    @property
    def stop_texts(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def has_usage_chunk(self) -> bool:
        return bool(self.stream and self.stream_options and self.stream_options.include_usage)


class ChatRequest(SamplingRequest):
    """A conversation to be continued by the model."""

    messages: list[dict[str, Any]] = Field(min_length=1, max_length=2000)
    """The conversation, as in a training row: `role` and `content`, `tool_calls`, `tool_call_id`."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Older name of `max_completion_tokens`."""
    max_completion_tokens: int | None = Field(default=None, ge=1)
    """Largest number of tokens of an answer. Default: what the context of the model leaves."""
    logprobs: bool | None = None
    """Return the log probability of each token of the answer."""
    top_logprobs: int | None = Field(default=None, ge=0, le=MAX_TOP_LOGPROBS)
    """With `logprobs`: return this many of the most likely tokens at each position too."""
    tools: list[dict[str, Any]] | None = Field(default=None, max_length=128)
    """Functions that the model may call, if its chat template knows tools."""
    tool_choice: Literal["auto", "none"] | None = None
    """`none`: do not show the tools to the model. No other choice can be enforced."""
    parallel_tool_calls: Literal[True] | None = None
    """Must be `true`: the number of calls is not limited."""
    response_format: ResponseFormat | None = None
    """`{"type": "text"}` only."""
    metadata: dict[str, str] | None = Field(default=None, max_length=16)
    """Not used."""
    store: Literal[False] | None = None
    """Must be `false`: answers are not stored."""
    service_tier: Literal["auto", "default"] | None = None
    """Not used."""
    safety_identifier: str | None = Field(default=None, max_length=512)
    """Not used."""
    prompt_cache_key: str | None = Field(default=None, max_length=512)
    """Not used."""

    @property
    def max_new_tokens(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens


class CompletionRequest(SamplingRequest):
    """A text to be continued by the model, without its chat template."""

    prompt: Prompts
    """A text, the ids of its tokens, or up to 16 of them, each of which gets `n` answers."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Largest number of tokens of an answer. Default: 16."""
    logprobs: int | None = Field(default=None, ge=0, le=5)
    """Return the log probabilities of each token, and of this many of the most likely ones."""
    best_of: Literal[1] | None = None
    """Must be 1."""
    echo: Literal[False] | None = None
    """Must be `false`: answers do not repeat the prompt."""
    suffix: Literal[""] | None = None
    """Must be empty: text is not inserted."""

    @property
    def max_new_tokens(self) -> int:
        return self.max_tokens or DEFAULT_COMPLETION_TOKENS

    @property
    def prompts(self) -> "list[str | list[int]]":
        if isinstance(self.prompt, str):
            return [self.prompt]
        if isinstance(self.prompt[0], int):
            return [[token for token in self.prompt if isinstance(token, int)]]
        return [prompt for prompt in self.prompt if not isinstance(prompt, int)]


class Usage(WireModel):
    """Numbers of tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class FunctionCall(WireModel):
    """A function, and its arguments as JSON text."""

    name: str
    arguments: str


class ToolCall(WireModel):
    """A call of a tool by the model."""

    id: str
    type: Literal["function"] = "function"
    function: FunctionCall


class TopLogprob(WireModel):
    """A token that was possible at a position."""

    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprob(TopLogprob):
    """A token of an answer."""

    top_logprobs: list[TopLogprob]


class ChatLogprobs(WireModel):
    """The tokens of an answer."""

    content: list[TokenLogprob] | None
    refusal: None = None


class AnswerMessage(WireModel):
    """The message that the model wrote."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: None = None
    tool_calls: list[ToolCall] | None = None


class ChatChoice(WireModel):
    """One answer."""

    index: int
    message: AnswerMessage
    logprobs: ChatLogprobs | None = None
    finish_reason: FinishReason


class ChatCompletion(WireModel):
    """The answers to a conversation."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage


class CompletionLogprobs(WireModel):
    """The tokens of a completion, in the older form."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]] | None
    text_offset: list[int]


class CompletionChoice(WireModel):
    """One continuation of a text."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None = None
    finish_reason: FinishReason


class TextCompletion(WireModel):
    """The continuations of a text."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage
