"""An engine that vLLM computes: a stand-in process is started by the same launcher and speaks the same HTTP."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openai
import psutil
import pytest

from ftlab.schemas import EngineConfig, LogPayload, NoticePayload
from ftlab.status import ReasonCode, StopKind
from tests.support import stand_in_vllm
from tests.support.clocks import wait_for
from tests.unit.train.inference.test_run_engine import HELLO, Attempt, Link, begin, plan
from train.plan import EnginePlan

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ARCHITECTURE = "LlamaForCausalLM"
TEXTS = {"base": "I am the base model.", "plain": "I am an adapter.", "rslora": "I am another one."}


@pytest.fixture(scope="module")
def tokens(base_folder: Path) -> dict[str, list[int]]:
    from transformers import AutoTokenizer

    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(base_folder)
    end = tokenizer.eos_token_id
    return {name: [*tokenizer(text, add_special_tokens=False)["input_ids"], end] for name, text in TEXTS.items()}


@pytest.fixture
def talking(base_folder: Path, tmp_path: Path) -> EnginePlan:
    config = EngineConfig(model="org/talks", idle_timeout_s=3600, backend="auto")
    return plan(base_folder.parent, tmp_path, model=str(base_folder), config=config, use_cuda=True, threads=3)


@contextmanager
def running(plan: EnginePlan) -> Iterator[Attempt]:
    attempt = begin(plan)
    try:
        yield attempt
    finally:
        attempt.link.stop = attempt.link.stop or StopKind.CANCEL
        attempt.thread.join(20)


def is_running(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def ask(client: openai.OpenAI, adapter: Path | None = None, salt: str | None = None, **options: Any) -> Any:
    extra = {"adapter": str(adapter) if adapter else None, "cache_salt": salt}
    return client.chat.completions.create(**({"model": "shown", "messages": HELLO} | options), extra_body=extra)


def test_the_command_and_the_environment_of_the_server(
    talking: EnginePlan, tokens: dict[str, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FTLAB_SMTP_PASSWORD", "secret")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    folder = stand_in_vllm.install(talking.inference_folder, ARCHITECTURE, tokens=tokens, start_s=0.6)
    with running(replace(talking, gpu_fraction=0.5)) as attempt, attempt.client() as client:
        [start] = stand_in_vllm.calls(folder, "start")
        socket = Path(start["options"]["uds"])
        assert socket.parent.stat().st_mode & 0o777 == 0o700
        with pytest.raises(openai.BadRequestError, match="context has 256 tokens"):
            ask(client, max_tokens=1000)

    assert start["model"] == talking.model
    assert {"enable-lora", "disable-fastapi-docs"} <= set(start["flags"])
    assert start["options"]["gpu-memory-utilization"] == "0.46"
    assert start["options"]["generation-config"] == "vllm"
    assert (start["options"]["max-model-len"], start["options"]["max-lora-rank"]) == ("auto", "64")
    env = start["env"]
    assert env["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == env["VLLM_NO_USAGE_STATS"] == env["HF_HUB_OFFLINE"] == "1"
    assert (env["CUDA_VISIBLE_DEVICES"], env["OMP_NUM_THREADS"]) == ("3", "3")
    assert len(env["VLLM_API_KEY"]) > 40
    assert not [name for name in env if name.startswith(("FTLAB_", "RAY_")) or name == "PYTHONPATH"]
    chosen = attempt.link.reports[0]
    assert isinstance(chosen, NoticePayload)
    assert chosen.message == "vLLM 0.33.0 answers."
    # Nothing of it is left.
    assert not is_running(start["core"])
    assert not socket.parent.exists()
    [outcome] = attempt.outcomes
    assert (outcome.ending, outcome.stop) == ("stopped", StopKind.CANCEL)


def test_base_and_adapters_answer(talking: EnginePlan, tokens: dict[str, list[int]], adapters: dict[str, Path]) -> None:
    folder = stand_in_vllm.install(talking.inference_folder, ARCHITECTURE, tokens=tokens)
    with running(talking) as attempt, attempt.client() as client:
        for name, text in TEXTS.items():
            adapter = adapters.get(name)
            whole = ask(client, adapter, salt="s", n=2, seed=5, temperature=0.5, top_p=0.9, logit_bias={"7": 2})
            assert [choice.message.content for choice in whole.choices] == [text, text]
            assert {choice.finish_reason for choice in whole.choices} == {"stop"}
            assert whole.usage.completion_tokens == 2 * len(tokens[name])
            chunks = list(ask(client, adapter, stream=True))
            assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == text
            assert chunks[-1].choices[0].finish_reason == "stop"
        cut = ask(client, stop=["base"], max_tokens=50)
        assert (cut.choices[0].message.content, cut.choices[0].finish_reason) == ("I am the ", "stop")
        short = ask(client, max_tokens=2)
        assert short.choices[0].finish_reason == "length"
        likely = ask(client, logprobs=True, top_logprobs=1).choices[0].logprobs.content
        assert [token.logprob for token in likely] == [-0.5] * (len(tokens["base"]) - 1)
        assert {token.top_logprobs[0].logprob for token in likely} == {-0.25}
        continued = client.completions.create(model="shown", prompt="I am", max_tokens=50)
        assert continued.choices[0].text.strip() == TEXTS["base"]
        with pytest.raises(openai.UnprocessableEntityError, match="vLLM cannot compute an adapter with DoRA"):
            ask(client, adapters["dora"])

    assert stand_in_vllm.calls(folder, "adapter") == [str(adapters["plain"]), str(adapters["rslora"])]
    loads = stand_in_vllm.calls(folder, "/v1/load_lora_adapter")
    assert "plain" not in loads[0]["lora_path"], "the log of the server is not for everyone"
    both = stand_in_vllm.calls(folder, "/v1/completions")[:2]
    assert sorted(each["seed"] for each in both) == [5, 6]  # sent at the same time
    for each in both:
        assert (each["cache_salt"], each["temperature"], each["top_p"]) == ("s", 0.5, 0.9)
        assert each["logit_bias"] == {"7": 2.0}
        assert tokens["base"][-1] in each["stop_token_ids"]


def test_unused_adapters_make_room(
    talking: EnginePlan, tokens: dict[str, list[int]], adapters: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.inference.vllm_adapters.MAX_ADAPTERS", 1)
    folder = stand_in_vllm.install(talking.inference_folder, ARCHITECTURE, tokens=tokens)
    with running(talking) as attempt, attempt.client() as client:
        for name in ("plain", "plain", "rslora", "plain"):
            assert ask(client, adapters[name]).choices[0].message.content == TEXTS[name]
    names = [load["lora_name"] for load in stand_in_vllm.calls(folder, "/v1/load_lora_adapter")]
    assert len(set(names)) == 3
    assert [call["lora_name"] for call in stand_in_vllm.calls(folder, "/v1/unload_lora_adapter")] == names[:2]


def test_an_adapter_that_the_server_refuses(
    talking: EnginePlan, tokens: dict[str, list[int]], adapters: dict[str, Path]
) -> None:
    stand_in_vllm.install(talking.inference_folder, ARCHITECTURE, tokens=tokens, refuses="No such module.")
    with running(talking) as attempt, attempt.client() as client:
        with pytest.raises(openai.InternalServerError, match=r"vLLM could not load the adapter \(No such module\)."):
            ask(client, adapters["plain"])
        assert ask(client).choices[0].message.content == TEXTS["base"]


def test_a_caller_who_leaves_ends_the_answer(talking: EnginePlan, tokens: dict[str, list[int]]) -> None:
    long = {"base": tokens["base"][:-1] * 20}
    folder = stand_in_vllm.install(talking.inference_folder, ARCHITECTURE, tokens=long, token_s=0.05)
    with running(talking) as attempt, attempt.client() as client:
        stream = ask(client, stream=True)
        next(stream)
        stream.close()
        wait_for(lambda: bool(stand_in_vllm.calls(folder, "aborted")), what="the server to notice")


def test_a_server_that_ends_at_its_start(talking: EnginePlan) -> None:
    from train.failures.classify import classify
    from train.failures.errors import EngineCrashedError
    from train.reporting.logs import run_log
    from train.run_job import run_job

    last = "ValueError: No available memory for the cache blocks."
    folder = stand_in_vllm.install(talking.inference_folder, ARCHITECTURE, crash=last)
    link = Link()
    with run_log(talking.log_file, link), pytest.raises(EngineCrashedError) as crash:
        run_job(talking, link)
    assert [line.text for line in link.reports if isinstance(line, LogPayload)] == ["Loading the weights", last]
    failure = classify(crash.value, talking.job_folder)
    assert failure.reason is ReasonCode.WORKER_CRASHED
    assert failure.message == f"vLLM ended by itself with exit code 3. Its last line: {last}"
    assert failure.notes == ("Loading the weights", last)
    [start] = stand_in_vllm.calls(folder, "start")
    assert not is_running(start["core"])


def test_a_server_that_ends_at_a_request(talking: EnginePlan) -> None:
    from train.failures.errors import EngineCrashedError

    stand_in_vllm.install(talking.inference_folder, ARCHITECTURE, crash="Segmentation fault", crash_on_request=True)
    attempt = begin(talking)
    with attempt.client() as client, pytest.raises(openai.InternalServerError) as refused:
        ask(client)
    assert (refused.value.status_code, refused.value.code) == (503, "engine_closing")
    attempt.thread.join(20)
    [error] = attempt.errors
    assert isinstance(error, EngineCrashedError)
    assert str(error).endswith("Its last line: Segmentation fault")


def test_a_stop_while_the_server_loads(talking: EnginePlan, tokens: dict[str, list[int]]) -> None:
    folder = stand_in_vllm.install(talking.inference_folder, ARCHITECTURE, tokens=tokens, start_s=60)
    attempt = begin(talking)
    wait_for(lambda: bool(stand_in_vllm.calls(folder, "start")), what="the server to start")
    attempt.link.stop = StopKind.PREEMPT
    outcome = attempt.end()
    assert (outcome.ending, outcome.stop) == ("stopped", StopKind.PREEMPT)
    assert not is_running(stand_in_vllm.calls(folder, "start")[0]["core"])
