"""The engine gives everyone the answer that they would get alone, whatever else it computes."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ftlab.errors import FineTuneLabError, ServiceUnavailableError
from tests.unit.train.inference.conftest import Heard, run_all

if TYPE_CHECKING:
    from train.inference.engine import Engine

QUESTIONS = (
    "How do I submit a job?",
    "Hi",
    "What does the loss tell me about a model that has been trained on a very small set of rows, and on no other?",
    "queue",
    "The adapter is small, because",
    "0 1 2 3 4 5 6 7",
    "user assistant",
    "Can I download the model?",
)


def tokens_of(engine: "Engine", text: str) -> list[int]:
    return list(engine.tokenizer_of(None)(text)["input_ids"])


def ask(engine: "Engine", text: str, adapter: Path | None = None, new: int = 12, **options: Any) -> Heard:
    from train.inference.answers import Prompt
    from train.inference.sampling import Sampling

    stop = options.pop("stop", ())
    sampling = Sampling(**({"temperature": 0.0} | options))
    heard = Heard()
    engine.submit(Prompt(tokens_of(engine, text), new, sampling, stop, adapter), heard.pieces.append)
    return heard


def answer_alone(base: Path, adapter: Path | None, tokens: list[int], new: int = 12) -> str:
    """What transformers and PEFT answer themselves, without a batch."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(base)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter)
    ids = torch.tensor([tokens])
    written = model.eval().generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, do_sample=False, pad_token_id=0
    )
    return str(AutoTokenizer.from_pretrained(base).decode(written[0, len(tokens) :], skip_special_tokens=True))


def test_everyone_gets_the_answer_they_would_get_alone(
    make_engine: "Callable[[], Engine]", base_folder: Path, adapters: dict[str, Path]
) -> None:
    engine = make_engine()
    order = [None, *adapters.values(), None, adapters["plain"]]
    heard = []
    for question, adapter in zip(QUESTIONS, order, strict=True):
        heard.append(ask(engine, question, adapter))
        engine.step()  # the next one comes while this one is computed
        engine.step()
    run_all(engine)

    expected = [
        answer_alone(base_folder, adapter, tokens_of(engine, question))
        for question, adapter in zip(QUESTIONS, order, strict=True)
    ]
    assert [each.text for each in heard] == expected
    assert len(set(expected)) == len(expected), "answers that are all the same prove nothing"


def test_an_adapter_changes_the_answer(base_folder: Path, adapters: dict[str, Path]) -> None:
    from transformers import AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(base_folder)(QUESTIONS[0])["input_ids"]
    answers = [answer_alone(base_folder, adapter, tokens) for adapter in (None, *adapters.values())]

    assert len(set(answers)) == len(answers)


def test_a_long_prompt_is_read_in_parts(make_engine: "Callable[[], Engine]", base_folder: Path) -> None:
    engine = make_engine()
    long = " ".join(QUESTIONS) * 12
    assert len(tokens_of(engine, long)) > 2 * 512
    first = ask(engine, QUESTIONS[0], new=30)
    for _ in range(3):
        engine.step()
    second = ask(engine, long)
    num_pieces = len(first.pieces)
    engine.step()
    assert len(first.pieces) > num_pieces, "the answer continues while the other prompt is read"
    run_all(engine)

    assert second.text == answer_alone(base_folder, None, tokens_of(engine, long))
    assert first.text == answer_alone(base_folder, None, tokens_of(engine, QUESTIONS[0]), 30)


def test_a_seed_gives_the_same_answer_alone_and_among_others(make_engine: "Callable[[], Engine]") -> None:
    engine = make_engine()
    settings = {"temperature": 1.0, "top_p": 0.95, "top_k": 50}
    alone = ask(engine, QUESTIONS[0], seed=5, **settings)
    run_all(engine)
    among = [ask(engine, question, seed=seed, **settings) for seed, question in enumerate(QUESTIONS)]
    same = ask(engine, QUESTIONS[0], seed=5, **settings)
    other = ask(engine, QUESTIONS[0], seed=6, **settings)
    unseeded = [ask(engine, QUESTIONS[0], **settings) for _ in range(2)]
    run_all(engine)

    assert same.text == alone.text
    assert other.text != alone.text
    assert unseeded[0].text != unseeded[1].text
    assert len({each.text for each in among}) == len(among)


def test_an_answer_ends_at_its_limit_and_at_eos(make_engine: "Callable[[], Engine]") -> None:
    engine = make_engine()
    eos = engine.tokenizer_of(None).eos_token_id
    cut = ask(engine, QUESTIONS[0], new=5)
    done = ask(engine, QUESTIONS[0], new=5, logit_bias=((eos, 100.0),))
    run_all(engine)

    assert (cut.finish, cut.pieces[-1].num_tokens) == ("length", 5)
    assert (done.finish, done.text, done.pieces[-1].num_tokens) == ("stop", "", 1)


def test_a_stop_text_ends_the_answer_before_it(make_engine: "Callable[[], Engine]") -> None:
    engine = make_engine()
    whole = ask(engine, QUESTIONS[0])
    run_all(engine)
    middle = len(whole.text) // 2
    stop = whole.text[middle : middle + 4]
    stopped = ask(engine, QUESTIONS[0], stop=(stop,))
    run_all(engine)

    assert (stopped.text, stopped.finish) == (whole.text[: whole.text.index(stop)], "stop")
    assert stopped.pieces[-1].num_tokens < whole.pieces[-1].num_tokens


def test_a_cancelled_answer_is_not_computed_any_more(make_engine: "Callable[[], Engine]", base_folder: Path) -> None:
    from train.inference.answers import Prompt
    from train.inference.sampling import Sampling

    engine = make_engine()
    gone = Heard()
    prompt = Prompt(tokens_of(engine, QUESTIONS[0]), 500, Sampling(temperature=0.0))
    answer = engine.submit(prompt, gone.pieces.append)
    stays = ask(engine, QUESTIONS[2])
    engine.step()
    engine.step()
    engine.cancel([answer])
    run_all(engine)

    assert not answer.is_over
    assert len(gone.pieces) <= 3
    assert engine.is_idle
    assert stays.text == answer_alone(base_folder, None, tokens_of(engine, QUESTIONS[2]))


def test_a_damaged_adapter_fails_its_own_request_only(
    make_engine: "Callable[[], Engine]", base_folder: Path, adapters: dict[str, Path], tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for file in adapters["plain"].iterdir():
        (damaged / file.name).write_bytes(file.read_bytes())
    weights = load_file(damaged / "adapter_model.safetensors")
    weights.pop(next(iter(weights)))
    save_file(weights, damaged / "adapter_model.safetensors", {"format": "pt"})
    engine = make_engine()

    for others in ([], [adapters["plain"]]):
        bad = ask(engine, QUESTIONS[0], damaged)
        good = [ask(engine, QUESTIONS[0], adapter) for adapter in (None, *others)]
        run_all(engine)
        assert isinstance(bad.pieces[-1].error, FineTuneLabError)
        assert "lacks 1 weight" in bad.pieces[-1].error.message
        expected = [answer_alone(base_folder, each, tokens_of(engine, QUESTIONS[0])) for each in (None, *others)]
        assert [each.text for each in good] == expected


def test_a_batch_that_fails_leaves_nothing_behind(
    make_engine: "Callable[[], Engine]",
    base_folder: Path,
    adapters: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = make_engine()
    layer = engine._model.base.model.layers[-1]
    forward = layer.forward

    def broken(states: Any, **options: Any) -> Any:
        if len(states) > 1:
            raise MemoryError
        return forward(states, **options)

    with monkeypatch.context() as patch:
        patch.setattr(layer, "forward", broken)
        lost = [ask(engine, QUESTIONS[0], adapter) for adapter in (adapters["plain"], adapters["rslora"])]
        run_all(engine)
    kept = [ask(engine, QUESTIONS[0], adapter) for adapter in (adapters["plain"], adapters["rslora"], None)]
    run_all(engine)

    assert all(each.pieces[-1].error is not None for each in lost)
    assert [each.text for each in kept] == [
        answer_alone(base_folder, adapter, tokens_of(engine, QUESTIONS[0]))
        for adapter in (adapters["plain"], adapters["rslora"], None)
    ]


def test_adapters_that_are_not_used_are_removed(
    make_engine: "Callable[[], Engine]", adapters: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from train.inference import language_model

    monkeypatch.setattr(language_model, "MAX_ADAPTERS", 2)
    engine = make_engine()
    first, again = dict[str, str](), dict[str, str]()
    for answers in (first, again):
        for kind, folder in adapters.items():
            heard = ask(engine, QUESTIONS[0], folder)
            run_all(engine)
            answers[kind] = heard.text

    assert len(engine._model._adapters) == 2
    assert again == first


def test_an_adapter_that_was_changed_is_loaded_again(
    make_engine: "Callable[[], Engine]", base_folder: Path, adapters: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(adapters["plain"], folder)
    engine = make_engine()
    first = ask(engine, QUESTIONS[0], folder)
    run_all(engine)
    for file in adapters["attention"].iterdir():
        shutil.copy(file, folder)
    second = ask(engine, QUESTIONS[0], folder)
    run_all(engine)

    tokens = tokens_of(engine, QUESTIONS[0])
    assert first.text == answer_alone(base_folder, adapters["plain"], tokens)
    assert second.text == answer_alone(base_folder, adapters["attention"], tokens)


def test_a_closing_engine_takes_nothing_and_fails_the_rest(make_engine: "Callable[[], Engine]") -> None:
    engine = make_engine()
    running = ask(engine, QUESTIONS[0], new=500)
    engine.step()
    assert not engine.close_if_idle(for_s=0)
    engine.close("The engine stops")
    engine.run()

    assert isinstance(running.pieces[-1].error, ServiceUnavailableError)
    with pytest.raises(ServiceUnavailableError, match="send the request again"):
        ask(engine, QUESTIONS[0])
