"""`ftlab show`: one job with its settings, its attempts, and what each resume started from."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ftlab.cli.app import app
from ftlab.cli.session import Session, command
from ftlab.cli.watch import JobArgument

if TYPE_CHECKING:
    from ftlab.schemas import Attempt, ChainedJob, Job

MAX_NAMED_DATASETS = 5
MAX_CHAINED = 5
CURRENT_LOAD = timedelta(seconds=60)
MAX_ANCESTORS = 20
"""Jobs that are followed back to the base model of the first one."""


@command(app)
def show(
    session: Session,
    job: JobArgument,
    as_yaml: Annotated[
        bool, typer.Option("--yaml", help="Print the job's config as a job file, with every setting.")
    ] = False,
) -> None:
    """Show one job, its attempts, what each resume started from, changed settings, and the alarms."""
    from ftlab.cli.text import auto_lines
    from ftlab.formatting import one_line
    from ftlab.schemas import EventKind, NoticePayload, ResumedPayload
    from ftlab.schemas.events import ALARMS, CONFIG_ADJUSTED, DATA_CHECKED, DATASETS_MIXED, EVAL_SPLIT

    found = session.client.jobs.get(job)
    if as_yaml:
        _print_config(session, found)
        return
    attempts = session.client.jobs.attempts(found.id)
    events = session.client.jobs.events(found.id, kinds=EventKind.NOTICE)
    notices = [(event, event.payload) for event in events if isinstance(event.payload, NoticePayload)]
    receipts = [event for event, notice in notices if isinstance(notice, ResumedPayload)]
    alarms = [event for event, notice in notices if notice.code in ALARMS]
    changes = [event for event, notice in notices if notice.code == CONFIG_ADJUSTED]
    newest = {notice.code: notice.message for _, notice in notices}
    about_data = {code: newest.get(code) for code in (DATA_CHECKED, EVAL_SPLIT, DATASETS_MIXED)}
    if session.output.as_json:
        more = {"attempts": list(attempts), "receipts": receipts, "alarms": alarms, **about_data}
        session.output.json(found.model_dump(mode="json") | more)
        return
    shown = {"Data": about_data[DATA_CHECKED], "Split": about_data[EVAL_SPLIT], "Mix": about_data[DATASETS_MIXED]}
    session.output.record(_fields(session, found) | shown)
    shown_events = [*receipts, *alarms, *changes]
    lines = [(event.attempt, one_line(notice.message)) for event, notice in notices if event in shown_events]
    for text in (text for number, text in lines if number == 0):
        session.output.data(text)
    if found.auto:
        session.output.data("Chosen by the service:")
    for line in auto_lines(found.auto):
        session.output.data(line)
    for attempt in attempts:
        session.output.data(_attempt_line(attempt))
        for text in (text for number, text in lines if number == attempt.number):
            session.output.data(f"  {text}")


def _print_config(session: Session, job: "Job") -> None:
    """Print the stored config, which makes the same job when it is submitted again: with a value for each `auto`."""
    from ftlab.schemas.job_file import write_yaml

    if session.output.as_json:
        raise typer.BadParameter("--yaml and --json cannot be combined; the JSON of a job has its config as 'config'.")
    for line in auto_comment(job):
        session.output.data(line)
    session.output.data(write_yaml(job.fixed_config).rstrip())


def auto_comment(job: "Job") -> Iterator[str]:
    """The comment of a job file that says which of its values were `auto`."""
    from ftlab.cli.text import auto_lines

    if job.auto:
        yield f"# Job {job.id} was submitted with 'auto' for these settings,"
        yield "# which became the values in this file:"
        yield from auto_lines(job.auto, prefix="#   ")


def _attempt_line(attempt: "Attempt") -> str:
    """`Attempt 2, 0:12:30 from step 50: worker_crashed, ...`."""
    from ftlab.cli.text import elapsed
    from ftlab.formatting import one_line

    resumed_from = attempt.resumed_from_step
    origin = "from the base model" if resumed_from is None else f"from step {resumed_from}"
    end = f"{attempt.reason}, {one_line(attempt.message or '')}" if attempt.ended_at else _where(attempt)
    return f"Attempt {attempt.number}, {elapsed(attempt.created_at, attempt.ended_at)} {origin}: {end}"


def _where(attempt: "Attempt") -> str:
    """A live attempt, with the actor by which Ray's dashboard lists it."""
    return f"alive, Ray actor {attempt.driver}" if attempt.driver else "alive"


def _fields(session: Session, job: "Job") -> dict[str, object]:
    from ftlab.cli.text import GLYPHS, files, local_time, status_and_phase, steps
    from ftlab.formatting import duration, number
    from ftlab.status import JobKind, ReasonCode

    settings = _settings if job.kind is JobKind.TRAINING else _settings_of_kind
    return {
        "Id": job.id,
        "Name": job.name,
        "Kind": None if job.kind is JobKind.TRAINING else job.kind,
        "Status": f"{GLYPHS[job.status]} {status_and_phase(job.status, job.phase)}",
        "Message": job.message,
        "Reason": None if job.reason is ReasonCode.OK else job.reason,
        "Priority": job.priority,
        "Queue place": job.queue_position,
        "After": _chain(job.parents),
        "Followed by": _chain(job.children),
        **settings(session, job),
        "Step": steps(job.step, job.total_steps) if job.step else None,
        "File": files(job.file, job.num_files, job.file_progress).removeprefix("file ") or None,
        "Epoch": number(job.epoch),
        "Loss": number(job.loss),
        "Eval loss": number(job.eval_loss),
        "ETA": duration(job.eta_s or None),
        "Load": _load(session, job),
        "Retries used": job.retries_used or None,
        "Model": job.model_id,
        "MLflow run": job.mlflow_url,
        "Created": local_time(job.created_at),
        "Started": local_time(job.started_at),
        "Paused": local_time(job.paused_at),
        "Finished": local_time(job.finished_at),
        "Ran for": duration(job.run_time_s),
        "Estimated": None if job.estimated_time_s is None else f"{duration(job.estimated_time_s)} of {_work(job)}",
        "Peak memory": _peak_memory(session, job),
        "Cost": _cost(job),
    }


def _chain(jobs: "Sequence[ChainedJob]") -> str | None:
    """The jobs before or after one in its chain, with where they stand."""
    from ftlab.cli.text import GLYPHS

    shown = [f"{GLYPHS[each.status]} {each.name} ({each.job_id}, {each.status})" for each in jobs[:MAX_CHAINED]]
    if hidden := len(jobs) - len(shown):
        shown.append(f"{hidden} more")
    return ", ".join(shown) or None


def _load(session: Session, job: "Job") -> str | None:
    """What the devices and processes of a running job do now; `None` once the job is gone."""
    from ftlab.cli.device_text import load_lines
    from ftlab.errors import NotFoundError
    from ftlab.status import JobStatus

    if job.status is not JobStatus.RUNNING:
        return None
    try:
        return "; ".join(load_lines(session.client.jobs.gpu(job.id, after=datetime.now(UTC) - CURRENT_LOAD)))
    except NotFoundError:
        return None


def _work(job: "Job") -> str:
    """What the estimates of a job are for."""
    from ftlab.status import JobKind

    return "training" if job.kind is JobKind.TRAINING else "reading and answering"


def _peak_memory(session: Session, job: "Job") -> str | None:
    """What an evaluation needed, with what was estimated before; `None` for another job."""
    from ftlab.errors import ConflictError, NotFoundError
    from ftlab.formatting import size
    from ftlab.status import JobKind, JobStatus

    if job.kind is not JobKind.EVALUATION or job.status is not JobStatus.COMPLETED:
        return None
    try:
        found = session.client.evaluations.results(job.id)
    except (ConflictError, NotFoundError):  # its files were removed
        return None
    if found.peak_memory_bytes is None:
        return None
    estimated = found.estimated_memory_bytes
    return size(found.peak_memory_bytes) + (f"; estimated {size(estimated)}" if estimated is not None else "")


def _cost(job: "Job") -> str | None:
    from decimal import Decimal

    from ftlab.formatting import money

    if job.cost is None:
        return None
    text = money(job.cost.amount, job.cost.currency)
    if (most := (job.resolved_config or job.config).get("max_cost")) is not None:
        text = f"{money(job.cost.amount, None)} of at most {money(Decimal(str(most)), job.cost.currency)}"
    if job.cost.expected is not None:
        text += f"; about {money(job.cost.expected, job.cost.currency)} at the last step"
    if job.cost.estimated is not None:
        text += f"; estimated {money(job.cost.estimated, job.cost.currency)} for the {_work(job)}"
    return text


def _settings(session: Session, job: "Job") -> dict[str, object]:
    """The settings that determine the result, with the names of the datasets and of the real base model."""
    config: Mapping[str, Any] = job.resolved_config or job.config
    training: Mapping[str, Any] = config.get("training") or {}
    lora: Mapping[str, Any] = config.get("lora") or {}
    method: Mapping[str, Any] = config.get("method") or {}
    tuning = {"lora": _adapter(lora), "full": "full fine-tuning"}.get(str(config.get("tuning")))
    bits = next((bits for bits in ("4", "8") if config.get(f"load_in_{bits}bit")), None)
    how = [str(method.get("type") or "").upper(), tuning, f"{bits}-bit" if bits else None]
    steps, epochs = training.get("max_steps"), training.get("num_train_epochs")
    rows, accumulated = training.get("per_device_train_batch_size"), training.get("gradient_accumulation_steps") or 1
    shown = [_dataset(session, dataset_id) for dataset_id in job.datasets[:MAX_NAMED_DATASETS]]
    if hidden := len(job.datasets) - len(shown):
        shown.append(f"{hidden} more")
    evaluated, share = config.get("eval_dataset"), config.get("eval_split")
    return {
        "Base model": _base_model(session, str(config.get("model"))),
        "Dataset": ", ".join(shown),
        "Mixed by weight": ", ".join(f"{weight:g}" for weight in config.get("dataset_weights") or ()) or None,
        "Eval dataset": _dataset(session, str(evaluated)) if evaluated else None,
        "Eval split": f"{share:g} of the rows" if share else None,
        "Method": ", ".join(filter(None, how)),
        "Learning rate": training.get("learning_rate"),
        "Length": f"{steps} steps" if steps else _epochs(epochs) if epochs else None,
        "Batch": (f"{rows} x {accumulated} accumulated" if accumulated > 1 else rows) if rows else None,
        "Max length": f"{method['max_length']} tokens" if method.get("max_length") else None,
    }


def _epochs(epochs: float) -> str:
    return "1 epoch" if epochs == 1 else f"{epochs:g} epochs"


def _settings_of_kind(session: Session, job: "Job") -> dict[str, object]:
    """What a job that does not train works on."""
    config: Mapping[str, Any] = job.resolved_config or job.config
    metrics = [str(metric.get("type")) for metric in config.get("metrics") or ()]
    tasks = [str(task.get("name") if isinstance(task, dict) else task) for task in config.get("tasks") or ()]
    model, formats = config.get("model"), config.get("formats") or ()
    models = [model] if isinstance(model, str) else config.get("models") or ()
    return {
        "Models": ", ".join(_named_model(session, str(each)) for each in models) or None,
        "Formats": ", ".join(formats) or None,
        "Dataset": ", ".join(_dataset(session, dataset) for dataset in job.datasets) or None,
        "Metrics": ", ".join(metrics) or None,
        "Tasks": ", ".join(tasks) or None,
    }


def _adapter(lora: Mapping[str, Any]) -> str:
    """The kind and the settings of an adapter; settings without an effect are omitted."""
    if not lora:
        return "LoRA"
    parts = [f"{'DoRA' if lora.get('use_dora') else 'LoRA'} r {lora.get('r')}", f"alpha {lora.get('lora_alpha')}"]
    if lora.get("lora_dropout"):
        parts.append(f"dropout {lora['lora_dropout']:g}")
    if lora.get("use_rslora"):
        parts.append("rank-stabilized")
    if isinstance(init := lora.get("init_lora_weights"), str):
        parts.append(f"{init} init")
    if isinstance(targets := lora.get("target_modules"), list):
        parts.append(f"on {', '.join(targets)}")
    if whole := lora.get("modules_to_save"):
        parts.append(f"with {', '.join(whole)}")
    return ", ".join(parts)


def _dataset(session: Session, dataset_id: str) -> str:
    """`rows.jsonl (ds-1)`; the id alone for a dataset that was deleted."""
    from ftlab.errors import NotFoundError

    try:
        return f"{session.client.datasets.get(dataset_id).name} ({dataset_id})"
    except NotFoundError:
        return dataset_id


def _named_model(session: Session, reference: str) -> str:
    """`support (model:mdl-1)`; the reference alone for a model without a job, or whose job was deleted."""
    from ftlab.errors import NotFoundError

    kind, _, name = reference.partition(":")
    if kind not in ("job", "model"):
        return reference
    try:
        job_id = name.partition("/")[0] if kind == "job" else session.client.models.get(name).job_id
        return f"{session.client.jobs.get(job_id).name} ({reference})"
    except NotFoundError:
        return reference


def _base_model(session: Session, reference: str) -> str:
    """The reference; behind `job:<id>` and `model:<id>` the model that the first of these jobs started from."""
    from ftlab.errors import NotFoundError

    base = reference
    try:
        for _ in range(MAX_ANCESTORS):
            kind, _, name = base.partition(":")
            if kind == "job":
                base = str(session.client.jobs.get(name.partition("/")[0]).config.get("model"))
            elif kind == "model":
                base = f"job:{session.client.models.get(name).job_id}"
            else:
                break
    except NotFoundError:
        return reference
    return reference if base == reference else f"{base} (through {reference})"
