"""One attempt of an engine: load the base model, answer requests, end when nobody sends any."""

import logging
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from ftlab.schemas import JobConfig, NoticePayload
from ftlab.status import StopKind
from ftlab.vllm_environment import VllmEnvironment, find_vllm
from train.inference.backend import choose_backend
from train.inference.engine import Engine
from train.inference.http_server import AnyEngine, EngineServer
from train.inference.language_model import LanguageModel
from train.inference.vllm_engine import VllmEngine
from train.inference.vllm_process import VllmProcess
from train.loop.run_context import EarlyStop, Heartbeat, StopPoll
from train.model.base_model import BaseModel, check_revision, find_model
from train.model.folder import facts_of
from train.model.load import load_engine_model
from train.plan import Ending, EnginePlan, EngineReady, ModelLoaded, Outcome, Phase, RunLink
from train.process import prepare_process

POLL_S = 0.25
BEAT_S = 1.0
IDLE_AFTER_S = 30.0
"""Seconds without a request after which an engine is idle, and makes room for a job that waits: about as long as it
takes to read an answer and to reply."""
BACKEND_CHOSEN = "engine_backend"
"""Code of the notice that says what answers."""

logger = logging.getLogger("ftlab.run")


def run_engine(plan: EnginePlan, link: RunLink) -> Outcome:
    """Answer requests on a free port of this machine, until there are none for a while or a stop is requested.

    Raises any error; `train.failures.classify.classify` derives the reason from it.
    """
    heartbeat, stop_poll = Heartbeat(link), StopPoll(link, plan.time_left_s)
    heartbeat.enter(Phase.LOADING)
    try:
        stop_poll.raise_if_requested()
        base = _find_base(plan)
        with _loaded(plan, base, link, heartbeat, stop_poll) as engine:
            return _serve(plan, link, engine, base.revision, heartbeat, stop_poll)
    except EarlyStop as early:
        return Outcome(Ending.STOPPED, 0, early.kind)


def _find_base(plan: EnginePlan) -> BaseModel:
    base = find_model(plan.model, plan.models_folder, pinned=plan.pinned_revision, local=plan.local_base)
    check_revision(base, plan.pinned_revision)
    return base


@contextmanager
def _loaded(
    plan: EnginePlan, base: BaseModel, link: RunLink, heartbeat: Heartbeat, stop_poll: StopPoll
) -> Iterator[AnyEngine]:
    """The engine, loaded by whatever answers here. Raise `EarlyStop` when a stop is requested meanwhile."""
    environment = find_vllm(plan.inference_folder)
    backend = choose_backend(plan.config, environment, facts_of(base.folder).architecture, use_cuda=plan.use_cuda)
    link.emit(NoticePayload(code=BACKEND_CHOSEN, message=backend.reason))
    if backend.kind == "own":
        prepare_process(plan)
        yield _load(plan, base)
        return
    assert environment is not None
    # The memory of the GPU is for vLLM: this process must not open the device.
    prepare_process(replace(plan, gpu_fraction=None))
    with _vllm(environment, plan, base, heartbeat, stop_poll) as engine:
        yield engine


def _load(plan: EnginePlan, base: BaseModel) -> Engine:
    # An engine computes as a training run of the same model would.
    config = plan.config
    training = JobConfig(
        model=config.model, dataset="none", load_in_4bit=config.load_in_4bit, load_in_8bit=config.load_in_8bit
    )
    model = LanguageModel(load_engine_model(base, training, use_cuda=plan.use_cuda))
    layers = facts_of(base.folder).layers
    return Engine(model, base, layers.max_positions if layers else None)


@contextmanager
def _vllm(
    environment: VllmEnvironment, plan: EnginePlan, base: BaseModel, heartbeat: Heartbeat, stop_poll: StopPoll
) -> Iterator[VllmEngine]:
    process = VllmProcess(environment, plan, base.folder)
    num_lines = 0

    def on_poll() -> None:
        nonlocal num_lines
        stop_poll.raise_if_requested()
        if process.num_lines > num_lines:  # a start that hangs writes nothing
            num_lines = process.num_lines
            heartbeat.beat()

    try:
        context = process.wait_until_ready(on_poll)
        logger.info("vLLM takes %d tokens of a prompt and its answer together.", context)
        yield VllmEngine(process, base, context)
    finally:
        process.stop()


class _EngineThread(threading.Thread):
    """The thread on which an engine computes. Keeps the error that ended it."""

    def __init__(self, engine: AnyEngine) -> None:
        super().__init__(name="ftlab-engine", daemon=True)
        self._engine = engine
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._engine.run()
        except BaseException as error:  # raised again by the thread that watches this one
            self._error = error

    def join_or_raise(self) -> None:
        """Wait until the engine has ended; raise the error if one ended it."""
        self.join()
        if self._error is not None:
            raise self._error


def _serve(
    plan: EnginePlan, link: RunLink, engine: AnyEngine, revision: str, heartbeat: Heartbeat, stop_poll: StopPoll
) -> Outcome:
    stop_poll.raise_if_requested()
    server = EngineServer(engine, link.host, token=secrets.token_urlsafe(32))
    thread = _EngineThread(engine)
    thread.start()
    server.start()
    try:
        link.emit(ModelLoaded(revision))
        link.emit(EngineReady(server.address, server.token))
        stop = _wait(heartbeat, stop_poll, engine, plan.config.idle_timeout_s, thread)
    finally:
        engine.close("The engine stops")
        thread.join()
        server.stop()
    return Outcome(Ending.FINISHED if stop is None else Ending.STOPPED, 0, stop)


def _wait(
    heartbeat: Heartbeat, stop_poll: StopPoll, engine: AnyEngine, idle_timeout_s: float, thread: _EngineThread
) -> StopKind | None:
    """Wait until the engine was idle for long enough, or the stop that was requested before. Report its phase."""
    beaten_at, turns = 0.0, -1
    reported = None
    while True:
        phase = Phase.IDLE if engine.idle_s() >= IDLE_AFTER_S else Phase.ANSWERING
        if phase is not reported:
            heartbeat.enter(phase)
            reported = phase
        if (stop := stop_poll.requested_here()) is not None:
            return stop
        if engine.close_if_idle(idle_timeout_s):
            thread.join_or_raise()
            return None
        if not thread.is_alive():
            thread.join_or_raise()
            raise RuntimeError("The thread of the engine ended.")
        # Only the engine's own progress counts: a forward pass that hangs must be noticed.
        if engine.num_turns != turns and time.monotonic() - beaten_at >= BEAT_S:
            beaten_at, turns = time.monotonic(), engine.num_turns
            heartbeat.beat()
        time.sleep(POLL_S)
