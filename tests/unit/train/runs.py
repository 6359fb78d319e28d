"""Short training runs on the tiny model, without Ray: the plan, a link that keeps what it is told, the rows."""

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from ftlab.schemas import EventKind, EventPayload, JobConfig
from train.data.rows.canonical import Kind, write_canonical
from train.loop.record_check import RECORD_DIFFERS
from train.plan import Beat, DataFile, EngineReady, LocalBase, ModelLoaded, Outcome, Phase, StopKind, TrainingPlan
from train.run import run

MODEL = "org/tiny"
TRAINING: dict[str, Any] = {
    "per_device_train_batch_size": 2,
    "max_steps": 8,
    "save_steps": 3,
    "learning_rate": 0.01,
    "seed": 7,
}
QUESTIONS = ("How do I submit a job?", "What does the loss tell me?", "Can I download the model?", "What is a queue?")


class CrashError(Exception):
    """Plays a process that dies."""


@dataclass
class Link:
    """A `RunLink` that keeps everything."""

    stop_at: dict[int, StopKind] = field(default_factory=dict)
    """What is asked for at the end of a step and from then on."""
    stop_in: dict[tuple[Phase, int], StopKind] = field(default_factory=dict)
    """What is asked for once the run is at something after some step."""
    save_at: set[int] = field(default_factory=set)
    """The steps at whose ends a checkpoint is wanted."""
    crash_at: int | None = None
    """The run dies when it tells the metrics of this step."""
    events: list[tuple[EventKind, dict[str, Any]]] = field(default_factory=list)
    loaded: list[ModelLoaded] = field(default_factory=list)
    reported: list[tuple[int, Path]] = field(default_factory=list)
    beats: list[Beat] = field(default_factory=list)
    host: str = "127.0.0.1"

    def emit(self, payload: EventPayload | ModelLoaded | EngineReady) -> None:
        if isinstance(payload, ModelLoaded):
            self.loaded.append(payload)
            return
        assert not isinstance(payload, EngineReady)
        data = payload.to_data()
        assert data.get("code") != RECORD_DIFFERS, data["message"]
        self.events.append((payload.kind, data))
        if self.crash_at is not None and "loss" in data.get("values", {}) and data["step"] >= self.crash_at:
            raise CrashError

    def beat(self, beat: Beat) -> None:
        self.beats.append(beat)

    def stop_requested(self) -> StopKind | None:
        phases = {(beat.phase, beat.step) for beat in self.beats}
        asked = [kind for step, kind in self.stop_at.items() if self.step >= step]
        asked += [kind for phase, kind in self.stop_in.items() if phase in phases]
        return next(iter(asked), None)

    def save_requested(self) -> bool:
        return self.step in self.save_at

    @property
    def step(self) -> int:
        return self.beats[-1].step if self.beats else 0

    def report_checkpoint(self, step: int, folder: Path) -> None:
        self.reported.append((step, folder))

    def told(self, kind: EventKind) -> list[dict[str, Any]]:
        return [data for told, data in self.events if told is kind]

    def series(self, name: str) -> dict[int, float]:
        return {data["step"]: data["values"][name] for data in self.told(EventKind.METRICS) if name in data["values"]}

    def receipt(self) -> dict[str, Any]:
        [receipt] = [data for data in self.told(EventKind.NOTICE) if data["code"] == "resumed"]
        return receipt

    def notices(self, code: str) -> list[str]:
        return [data["message"] for data in self.told(EventKind.NOTICE) if data["code"] == code]


@dataclass
class Job:
    """One job's folder and files; every `train` is an attempt."""

    folder: Path
    models: Path
    rows: Path | Sequence[Path]
    """The file to train on, or several."""
    eval_rows: Path | None = None
    model: str = MODEL
    local_base: LocalBase | None = None
    pinned: str | None = None
    attempts: int = 0
    recorded_step: int = 0
    recorded_eval_step: int = -1
    recorded_checkpoints: tuple[int, ...] = ()

    def train(
        self,
        link: Link | None = None,
        *,
        training: dict[str, Any] | None = None,
        resume_from: str | None = None,
        time_left_s: float | None = None,
        **config: Any,
    ) -> Outcome:
        """One attempt with a config in which `training` and `config` differ from what is usual here."""
        self.attempts += 1
        link = link or Link()
        plan = replace(self.plan(training=training, **config), resume_from=resume_from, time_left_s=time_left_s)
        try:
            return run(plan, link)
        finally:
            self.recorded_step = max([self.recorded_step, *link.series("loss")])
            self.recorded_eval_step = max([self.recorded_eval_step, *link.series("eval_loss")])
            recorded = set(self.recorded_checkpoints)
            for data in link.told(EventKind.CHECKPOINT):
                recorded = (recorded | {data["step"]}) - set(data["removed_steps"])
            self.recorded_checkpoints = tuple(sorted(recorded))

    def plan(self, *, training: dict[str, Any] | None = None, **config: Any) -> TrainingPlan:
        files = [self.rows] if isinstance(self.rows, Path) else self.rows
        values = {"model": MODEL, "dataset": "ds-1", "training": TRAINING | (training or {})} | config
        values.setdefault("lora", {"r": 4, "lora_alpha": 8})
        values.setdefault("method", {"type": "sft", "max_length": 64})
        return TrainingPlan(
            job_id="job-1",
            attempt=self.attempts,
            config=JobConfig.model_validate(values),
            job_folder=self.folder,
            models_folder=self.models,
            model=self.model,
            local_base=self.local_base,
            pinned_revision=self.pinned,
            train_files=tuple(DataFile(f"ds-{number}", rows) for number, rows in enumerate(files, 1)),
            eval_rows=self.eval_rows,
            cache_folder=self.folder.with_name("cache"),
            threads=1,
            recorded_step=self.recorded_step,
            recorded_eval_step=self.recorded_eval_step,
            recorded_checkpoints=self.recorded_checkpoints,
        )

    @property
    def checkpoints(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "checkpoints").iterdir())

    @property
    def delivered(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "model").iterdir())

    @property
    def weights_sha256(self) -> str:
        """The hash of the weights that were delivered."""
        [file] = (self.folder / "model").glob("*.safetensors")
        return hashlib.sha256(file.read_bytes()).hexdigest()


class Trained(NamedTuple):
    """A job after its first attempt. Tests share it, and work in a copy of its folder."""

    job: Job
    link: Link
    outcome: Outcome

    def copy(self, folder: Path) -> Job:
        return replace(self.job, folder=Path(shutil.copytree(self.job.folder, folder)))


def write_rows(file: Path, count: int, *, offset: int = 0) -> Path:
    rows = []
    for number in range(offset, offset + count):
        question = QUESTIONS[number % len(QUESTIONS)]
        rows.append([{"role": "user", "content": question}, {"role": "assistant", "content": f"Answer {number}."}])
    return write_messages(file, rows)


def write_messages(file: Path, rows: list[list[dict[str, str]]]) -> Path:
    with write_canonical(file, Kind.MESSAGES) as out:
        for line, row in enumerate(rows, 1):
            out.write(line, {"messages": row})
    return file


def write_rated(file: Path, count: int, *, offset: int = 0) -> Path:
    """Answers that are rated good and bad in turn, of different lengths."""
    with write_canonical(file, Kind.UNPAIRED) as out:
        for number in range(offset, offset + count):
            text = f"No{' idea' * (number % 3)}." if number % 2 else f"Answer {number}."
            prompt = [{"role": "user", "content": QUESTIONS[number % len(QUESTIONS)]}]
            completion = [{"role": "assistant", "content": text}]
            out.write(number + 1, {"prompt": prompt, "completion": completion, "label": number % 2 == 0})
    return file


def write_pairs(file: Path, count: int, *, offset: int = 0) -> Path:
    """Pairs whose answers differ in length and in content."""
    with write_canonical(file, Kind.PREFERENCE) as out:
        for number in range(offset, offset + count):
            answers = (f"Answer {number}.", f"No{' idea' * (number % 3)}.")
            chosen, rejected = ([{"role": "assistant", "content": answer}] for answer in answers)
            prompt = [{"role": "user", "content": QUESTIONS[number % len(QUESTIONS)]}]
            out.write(number + 1, {"prompt": prompt, "chosen": chosen, "rejected": rejected})
    return file
