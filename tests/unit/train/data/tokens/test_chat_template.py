"""Finding the assistant's words: with and without generation marks, and where a template rewrites earlier turns."""

import random
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from ftlab.errors import InvalidRequestError
from tests.support.tiny_models import CHAT_TEMPLATE, make_tiny_tokenizer
from train.data.tokens import render
from train.data.tokens.chat_template import _DIRECTIVES, TODAY, ChatTemplate
from train.data.tokens.render import RenderedRow, Renderer

TALK = [
    {"role": "user", "content": "Question one?"},
    {"role": "assistant", "content": "Answer one."},
    {"role": "user", "content": "Question two?"},
    {"role": "assistant", "content": "Answer two."},
]
MARKED = CHAT_TEMPLATE.replace(
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}",
    "{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + '<|im_end|>\n' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|im_end|>\n' }}{% endif %}",
)
REWRITING = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['role'] == 'assistant' and loop.last %}<think></think>{% endif %}"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
REWRITING_MARKED = REWRITING.replace(
    "{{ message['content'] }}", "{% generation %}{{ message['content'] }}{% endgeneration %}"
)


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    return make_tiny_tokenizer()


def trl_templates() -> Path:
    from trl import chat_template_utils

    return Path(chat_template_utils.__file__).parent / "chat_templates"


def learned(tokenizer: PreTrainedTokenizerFast, template: str, messages=TALK) -> tuple[str, list[str]]:
    tokenizer.chat_template = template
    renderer = Renderer(tokenizer, assistant_only_loss=True)
    row = renderer.render(1, {"messages": messages})
    return renderer.template.origin, [row.text[start:end] for start, end in row.spans]


@pytest.mark.parametrize("template", [CHAT_TEMPLATE, MARKED])
def test_the_same_words_are_learned_with_and_without_marks(tokenizer: PreTrainedTokenizerFast, template: str):
    assert learned(tokenizer, template) == ("model", ["Answer one.<|im_end|>\n", "Answer two.<|im_end|>\n"])


def test_a_mask_by_marks_would_be_all_zero_without_them(tokenizer: PreTrainedTokenizerFast):
    """What the search by texts saves the user from."""
    masks = []
    for template in (CHAT_TEMPLATE, MARKED):
        tokenizer.chat_template = template
        encoded = tokenizer.apply_chat_template(TALK, return_dict=True, return_assistant_tokens_mask=True)
        masks.append(sum(encoded["assistant_masks"]))
    assert masks[0] == 0
    assert masks[1] > 0


@pytest.mark.parametrize(
    "family",
    [
        "qwen3", "qwen3_5_think", "qwen3_6", "deepseek_r1_distill", "deepseekv3", "gptoss", "nemotron_3_nano", "phi3",
        "phi3_5",
    ],
)  # fmt: skip
def test_a_family_that_rewrites_turns_is_read_with_its_training_template(
    tokenizer: PreTrainedTokenizerFast, family: str
):
    tokenizer.bos_token = "<|endoftext|>"
    template = (trl_templates() / f"{family}.jinja").read_text()
    origin, turns = learned(tokenizer, template)
    assert origin == "training"
    assert len(turns) == 2
    assert "Answer one." in turns[0]
    assert "Answer two." in turns[1]
    assert not any("Question" in turn for turn in turns)
    assert tokenizer.chat_template == template, "the tokenizer that is saved with the model keeps its own"


@pytest.mark.parametrize("family", ["qwen2_5", "llama3", "gemma", "lfm2", "glm4moe", "qwen3_instruct_2507"])
def test_a_family_that_rewrites_nothing_keeps_its_template(tokenizer: PreTrainedTokenizerFast, family: str):
    tokenizer.bos_token = "<|endoftext|>"
    origin, turns = learned(tokenizer, (trl_templates() / f"{family}.jinja").read_text())
    assert origin == "model"
    assert ["Answer one." in turns[0], "Answer two." in turns[1], len(turns)] == [True, True, 2]


def test_a_message_of_weight_0_is_not_learned_by_marks_either(tokenizer: PreTrainedTokenizerFast):
    messages = [TALK[0], TALK[1] | {"weight": 0}, *TALK[2:]]
    tokenizer.bos_token = "<|endoftext|>"
    _, turns = learned(tokenizer, (trl_templates() / "gptoss.jinja").read_text(), messages)
    assert len(turns) == 1
    assert "Answer two." in turns[0]


def test_a_template_that_rewrites_turns_may_bring_marks_of_its_own(tokenizer: PreTrainedTokenizerFast):
    template = REWRITING_MARKED.replace(
        "{{ message['content'] }}{% endgeneration %}", "{{ message['content'] }}<|im_end|>{% endgeneration %}"
    ).replace("{% generation %}", "{% if message['role'] == 'assistant' %}{% generation %}")
    template = template.replace(
        "{% endgeneration %}<|im_end|>", "{% endgeneration %}{% else %}{{ message['content'] }}<|im_end|>{% endif %}"
    )
    assert learned(tokenizer, template) == ("model", ["Answer one.<|im_end|>", "Answer two.<|im_end|>"])


def test_marks_that_do_not_fit_the_answers_are_not_believed(tokenizer: PreTrainedTokenizerFast):
    with pytest.raises(InvalidRequestError) as caught:
        learned(tokenizer, REWRITING_MARKED)
    assert caught.value.code == "chat_template_unsupported"


def test_an_unknown_template_that_rewrites_turns_is_refused_for_more_than_one_answer(
    tokenizer: PreTrainedTokenizerFast,
):
    assert learned(tokenizer, REWRITING, TALK[:2]) == ("model", ["<think></think>Answer one.<|im_end|>\n"])
    with pytest.raises(InvalidRequestError) as caught:
        learned(tokenizer, REWRITING)
    assert caught.value.code == "chat_template_unsupported"


def test_a_text_is_learned_as_it_is_with_its_end(tokenizer: PreTrainedTokenizerFast):
    row = Renderer(tokenizer, assistant_only_loss=True).render(1, {"text": "Once upon a time"})
    assert (row.text, row.spans) == ("Once upon a time<|im_end|>", [(0, len(row.text))])


def every_family() -> list[str]:
    return sorted(path.stem for path in trl_templates().glob("*.jinja") if not path.stem.endswith("_training"))


TRICKY = [
    "So.",
    " spaced ",
    "a</think>b",
    "<think>\nHm.\n</think>\n\nYes.",
    "Stand1in",
    "Line\n\n",
    "Answer one.",
    "😀☃",
]


@pytest.mark.parametrize("family", every_family())
@pytest.mark.parametrize("only", [True, False])
def test_turns_that_are_known_are_those_that_would_be_found(
    tokenizer: PreTrainedTokenizerFast, family: str, only: bool, monkeypatch: pytest.MonkeyPatch
):
    """Rows of the same roles share what was learned of the first; that must never show."""
    tokenizer.bos_token = "<|endoftext|>"
    tokenizer.chat_template = (trl_templates() / f"{family}.jinja").read_text()
    rng = random.Random(family)
    quick, slow = (Renderer(tokenizer, assistant_only_loss=only) for _ in range(2))
    num_known = 0
    for _ in range(40):
        messages = [message | {"content": rng.choice(TRICKY)} for message in TALK[: rng.choice((2, 4))]]
        if rng.random() < 0.3:
            messages = [{"role": "system", "content": rng.choice(TRICKY)}, *messages]
        if rng.random() < 0.3:
            messages[-1]["weight"] = 0
        rows = []
        for renderer, limit in ((quick, 256), (slow, 0)):
            monkeypatch.setattr(render, "MAX_OUTLINES", limit)
            try:
                rows.append(renderer.render(1, {"messages": messages}))
            except InvalidRequestError as error:
                rows.append(error.code)
        if isinstance(rows[0], RenderedRow):
            num_known += rows[0].is_verbatim
            assert isinstance(rows[1], RenderedRow)
            assert (rows[0].text, rows[0].spans) == (rows[1].text, rows[1].spans)
        else:
            assert rows[0] == rows[1]
    if family in ("qwen2_5", "llama3", "phi3", "gptoss"):
        assert num_known > 5


def test_few_orders_of_roles_are_remembered(tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(render, "MAX_OUTLINES", 2)
    renderer = Renderer(tokenizer, assistant_only_loss=True)
    shown = [renderer.render(1, {"messages": TALK[:count]}) for count in (2, 3, 4, 2, 4)]
    assert [row.is_verbatim for row in shown] == [True, True, False, True, False]
    assert len(shown[2].spans) == len(shown[4].spans) == 2


def test_what_a_row_says_with_tools_is_searched_for(tokenizer: PreTrainedTokenizerFast):
    renderer = Renderer(tokenizer, assistant_only_loss=True)
    call = {"type": "function", "function": {"name": "look", "arguments": "{}"}}
    for row in (
        {"messages": TALK[:2], "tools": [{"type": "function", "function": {"name": "look"}}]},
        {"messages": [TALK[0], TALK[1] | {"tool_calls": [call]}]},
    ):
        shown = renderer.render(1, row)
        assert not shown.is_verbatim
        assert [shown.text[start:end] for start, end in shown.spans] == ["Answer one.<|im_end|>\n"]


class _RestlessClock(datetime):
    """Each time it is asked, it is another day."""

    day = datetime(2099, 1, 1, tzinfo=UTC)

    @classmethod
    def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
        cls.day += timedelta(days=1)
        return cls.day


@pytest.mark.parametrize("family", ["llama3_2", "gptoss", "muse_glimmer"])
@pytest.mark.parametrize("only", [True, False])
def test_a_template_that_asks_for_the_date_is_told_the_same_one_always(
    tokenizer: PreTrainedTokenizerFast, family: str, only: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("transformers.utils.chat_template_utils.datetime", _RestlessClock)
    tokenizer.bos_token = "<|endoftext|>"
    tokenizer.chat_template = (trl_templates() / f"{family}.jinja").read_text()
    weighted = [*TALK[:3], TALK[3] | {"weight": 0}]
    rows = [Renderer(tokenizer, assistant_only_loss=only).render(1, {"messages": weighted}) for _ in range(2)]
    assert rows[0] == rows[1]
    assert TODAY.strftime("%d %b %Y" if family == "llama3_2" else "%Y-%m-%d") in rows[0].text
    assert "2099" not in rows[0].text


def test_a_tokenizer_with_several_templates_is_told_the_same_date(tokenizer: PreTrainedTokenizerFast):
    dated = "{{ strftime_now('%Y-%m-%d') }}" + CHAT_TEMPLATE
    tokenizer.chat_template = {"default": dated, "tool_use": "T" + dated}
    template, tools = ChatTemplate.of(tokenizer), [{"type": "function", "function": {"name": "look"}}]
    assert template.render(tokenizer, TALK, None).startswith("2024-07-26<|im_start|>")
    assert template.render(tokenizer, TALK, tools).startswith("T2024-07-26<|im_start|>")


def test_marks_stay_where_they_are_when_the_date_is_fixed(tokenizer: PreTrainedTokenizerFast):
    template = ChatTemplate("model", "{{ strftime_now('%d %b %Y') }}\n" + MARKED)
    text = template.render(tokenizer, TALK, None)
    spans = template.marked(tokenizer, TALK, None)
    assert [text[start:end] for start, end in spans] == ["Answer one.<|im_end|>\n", "Answer two.<|im_end|>\n"]


def test_threads_do_not_get_each_others_marks(tokenizer: PreTrainedTokenizerFast):
    """transformers keeps what was marked in a template that all threads share."""
    template, talk = ChatTemplate("model", MARKED), 20 * TALK
    text, spans = template.render(tokenizer, talk, None), template.marked(tokenizer, talk, None)

    def render(number: int) -> object:
        return template.marked(tokenizer, talk, None) if number % 2 else template.render(tokenizer, talk, None)

    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(render, range(200)))
    finally:
        sys.setswitchinterval(interval_s)
    assert found == [text, spans] * 100


@pytest.mark.parametrize("directive", _DIRECTIVES)
@pytest.mark.parametrize("start", ["", "\n", "  ", "\n\n  "])
def test_a_fixed_date_changes_nothing_else(tokenizer: PreTrainedTokenizerFast, directive: str, start: str):
    plain = start + "{% if true %}<{{ day }}>{% endif %}\n{% for m in messages %}{{ m.content }}{% endfor %}"
    texts = [
        ChatTemplate("model", plain.replace("{{ day }}", day)).render(tokenizer, TALK, None)
        for day in (f"{{{{ strftime_now('%{directive}') }}}}", TODAY.strftime(f"%{directive}"))
    ]
    assert texts[0] == texts[1]
