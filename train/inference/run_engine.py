"""One attempt of an engine: load the base model, answer requests, end when nobody sends any."""

import secrets
import threading
import time

from ftlab.schemas import JobConfig
from ftlab.status import StopKind
from train.inference.engine import Engine
from train.inference.http_server import EngineServer
from train.inference.language_model import LanguageModel
from train.loop.run_context import EarlyStop, Heartbeat, StopPoll
from train.model.base_model import check_revision, find_model
from train.model.folder import facts_of
from train.model.load import load_engine_model
from train.plan import Ending, EnginePlan, EngineReady, ModelLoaded, Outcome, Phase, RunLink
from train.process import prepare_process

POLL_S = 0.25
BEAT_S = 1.0


def run_engine(plan: EnginePlan, link: RunLink) -> Outcome:
    """Answer requests on a free port of this machine, until there are none for a while or a stop is requested.

    Raises any error; `train.failures.classify.classify` derives the reason from it.
    """
    prepare_process(plan)
    heartbeat, stop_poll = Heartbeat(link), StopPoll(link, plan.time_left_s)
    heartbeat.enter(Phase.LOADING)
    try:
        stop_poll.raise_if_requested()
        engine, revision = _load(plan)
        stop_poll.raise_if_requested()
    except EarlyStop as early:
        return Outcome(Ending.STOPPED, 0, early.kind)
    server = EngineServer(engine, link.host, token=secrets.token_urlsafe(32))
    thread = threading.Thread(target=engine.run, name="ftlab-engine", daemon=True)
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


def _load(plan: EnginePlan) -> tuple[Engine, str]:
    """The engine, and the revision of its model."""
    base = find_model(plan.model, plan.models_folder, pinned=plan.pinned_revision, local=plan.local_base)
    check_revision(base, plan.pinned_revision)
    # An engine computes as a training run of the same model would.
    config = plan.config
    training = JobConfig(
        model=config.model, dataset="none", load_in_4bit=config.load_in_4bit, load_in_8bit=config.load_in_8bit
    )
    model = LanguageModel(load_engine_model(base, training, use_cuda=plan.use_cuda))
    layers = facts_of(base.folder).layers
    return Engine(model, base, layers.max_positions if layers else None), base.revision


def _wait(
    heartbeat: Heartbeat, stop_poll: StopPoll, engine: Engine, idle_timeout_s: float, thread: threading.Thread
) -> StopKind | None:
    """Wait until the engine was idle for long enough, or the stop that was requested before."""
    beaten_at, turns = 0.0, -1
    while True:
        if (stop := stop_poll.requested_here()) is not None:
            return stop
        if engine.close_if_idle(idle_timeout_s):
            return None
        if not thread.is_alive():
            raise RuntimeError("The thread of the engine ended.")
        # Only the engine's own progress counts: a forward pass that hangs must be noticed.
        if engine.num_turns != turns and time.monotonic() - beaten_at >= BEAT_S:
            beaten_at, turns = time.monotonic(), engine.num_turns
            heartbeat.beat()
        time.sleep(POLL_S)
