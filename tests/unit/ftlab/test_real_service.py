"""The SDK and the CLI against the real HTTP service: what the fake promises, the service keeps."""

import io
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from zipfile import ZipFile

import pytest

from cluster.policy import Fleet
from ftlab import errors
from ftlab.schemas.job_file import parse_job_config
from ftlab.schemas.methods import RowKind
from ftlab.status import JobStatus, ReasonCode
from tests.support.committed_folders import commit_folder
from tests.support.export_artifacts import add_export, write_artifact
from tests.support.job_configs import configs_with_every_setting
from tests.support.model_folders import write_model
from tests.unit.ftlab.cli_runs import Cli
from tests.unit.serve.jobs.statuses import bring
from tests.unit.serve.streams.running import World
from tests.unit.tracking.samples import checkpoint, model
from tracking.store.records import MlflowCursor, ModelRecord

ROW_OF_KIND = {
    RowKind.MESSAGES: b'{"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Hello"}]}\n',
    RowKind.PREFERENCE: b'{"prompt":"Hi","chosen":"Hello","rejected":"What?"}\n',
    RowKind.UNPAIRED: b'{"prompt":"Hi","completion":"Hello","label":true}\n',
    RowKind.TEXT: b'{"text":"Hello"}\n',
}
ROW = ROW_OF_KIND[RowKind.MESSAGES]


@pytest.fixture
def address(world) -> str:
    return str(world.url(""))


@pytest.fixture
def config(client, tmp_path):
    model = write_model(tmp_path / "home" / "models" / "org--tiny")
    file = tmp_path / "rows.jsonl"
    file.write_bytes(ROW * 3)
    return {"model": str(model), "dataset": client.datasets.upload(file).id}


def test_the_service_says_where_its_parts_are(client):
    found = client.info()
    assert found.dashboard_url.startswith("http://127.0.0.1:")
    assert found.dashboard_token_file is not None


def test_the_devices(client, world):
    assert list(client.devices()) == []
    world.coordinator.fleet = Fleet.of_one(4)
    [cores] = client.devices()
    assert (cores.device, cores.total, cores.used, cores.free) == ("cpu", 4, 0, 4)


def test_datasets(client, config, tmp_path):
    dataset = client.datasets.get(config["dataset"])
    assert (dataset.name, dataset.num_rows, dataset.shape) == ("rows.jsonl", 3, "messages")
    assert [found.id for found in client.datasets.list()] == [dataset.id]
    assert client.datasets.download(dataset.id, tmp_path / "again.jsonl").read_bytes() == ROW * 3
    client.datasets.delete(dataset.id)
    with pytest.raises(errors.NotFoundError):
        client.datasets.get(dataset.id)


def test_fields_that_are_not_used_are_shown(world, client, tmp_path, monkeypatch, capsys):
    file = tmp_path / "alpaca.jsonl"
    file.write_text('{"instruction": "Where?", "output": "Here.", "source": "faq"}\n' * 2)
    cli = Cli(world.url(""), monkeypatch, capsys)
    unused = "2 rows have a field 'source' that is not used."
    assert f"  {unused}\n" in cli("datasets", "upload", file).err
    [dataset] = client.datasets.list()
    assert [(field.name, field.used_as, field.num_rows) for field in dataset.fields] == [
        ("instruction", "user message", 2),
        ("output", "assistant message", 2),
        ("source", None, 2),
    ]
    assert [field.name for field in dataset.unused_fields] == ["source"]
    shown = cli("datasets", "show", dataset.id).lines
    assert [line for line in shown if "a field" in line] == [
        "2 rows have a field 'instruction' that is used as 'user message'.",
        "2 rows have a field 'output' that is used as 'assistant message'.",
        unused,
    ]
    assert f"  {unused}\n" in cli("datasets", "preview", dataset.id).err


def test_columns_and_a_preview(world, client, tmp_path, monkeypatch, capsys):
    file = tmp_path / "faq.csv"
    file.write_text("question,answer\nWhere?,Here.\nWho?,\n")
    with pytest.raises(errors.InvalidRequestError, match="--column prompt=question --column completion=answer"):
        client.datasets.upload(file)
    columns = {"prompt": "question", "completion": "answer"}
    dataset = client.datasets.upload(file, columns=columns, accept_partial=True)
    assert (dataset.shape, dataset.num_rows, dataset.num_skipped) == ("prompt_completion", 1, 1)
    assert dataset.problems == ("line 3: completion is missing or null. [empty_content]",)
    shown = client.datasets.preview(dataset.id, 2)
    assert (shown.shape, shown.kind, [row.line for row in shown.rows]) == ("prompt_completion", "messages", [2, 3])
    assert shown.rows[0].raw == {"question": "Where?", "answer": "Here."}
    assert shown.rows[0].row["messages"][1] == {"role": "assistant", "content": "Here."}
    cli = Cli(world.url(""), monkeypatch, capsys)
    run = cli("datasets", "preview", dataset.id)
    assert run.lines == [
        "line 2",
        '  before: {"question": "Where?", "answer": "Here."}',
        "  after: messages: user: Where?",
        "  after: messages: assistant: Here.",
        "line 3",
        '  before: {"question": "Who?", "answer": null}',
        "  skipped: completion is missing or null. [empty_content]",
    ]
    assert run.err == "Read as shape prompt_completion (confidence 0.75) of a csv file; rows of kind messages.\n"
    assert cli("datasets", "preview", dataset.id, "--rows", 1, "--json").json == shown.model_dump(mode="json") | {
        "rows": [shown.rows[0].model_dump(mode="json")]
    }


def test_a_bad_dataset_is_refused_by_line(client, tmp_path):
    file = tmp_path / "bad.jsonl"
    file.write_bytes(ROW + b"{nonsense\n")
    with pytest.raises(errors.InvalidRequestError, match="ine 2") as caught:
        client.datasets.upload(file)
    assert caught.value.code == "dataset_invalid"


def test_submit_list_and_cancel(client, config):
    first = client.jobs.create(config, "key-1")
    assert client.jobs.create(config, "key-1").id == first.id
    second = client.jobs.create(config | {"name": "second"})
    assert [job.id for job in client.jobs.list()] == [second.id, first.id]
    assert [entry.job_id for entry in client.queue().queued] == [first.id, second.id]
    assert client.jobs.get("second").id == client.jobs.get(second.id[:9]).id == second.id
    with pytest.raises(errors.ConflictError):
        client.datasets.delete(config["dataset"])
    assert client.jobs.cancel(first.id).status is JobStatus.CANCELLED
    with pytest.raises(errors.ConflictError):
        client.jobs.cancel(first.id)
    with pytest.raises(errors.JobCancelledError):
        client.jobs.wait(first.id)
    assert [job.id for job in client.jobs.list(["cancelled", "failed"])] == [first.id]


def stored_configs(world: World) -> dict[str, tuple[str, str]]:
    """The configs of all jobs as they are in the database, letter by letter."""
    with sqlite3.connect(world.settings.home / "ftlab.db") as database:
        rows = database.execute("SELECT id, config, resolved_config FROM jobs")
        return {job_id: (config, resolved) for job_id, config, resolved in rows}


@pytest.fixture
def datasets(client, tmp_path) -> dict[RowKind, str]:
    """A dataset of each kind of rows."""
    found = {}
    for kind, row in ROW_OF_KIND.items():
        file = tmp_path / f"{kind}.jsonl"
        file.write_bytes(row * 3)
        found[kind] = client.datasets.upload(file).id
    return found


def test_an_exported_config_makes_the_same_job(world, client, config, datasets, tmp_path, monkeypatch, capsys):
    world.settings.prices.update(cpu=Decimal("0.1"), gpu=Decimal(2))  # which max_cost needs
    cli = Cli(world.url(""), monkeypatch, capsys)
    chosen = {"model": "org/name", "dataset": ["ds-1"] * 2, "eval_dataset": "ds-1", "resources.gpus_per_worker": 1}
    chosen["dataset_weights"] = [0.5, 1.5]
    chosen["after"] = [client.jobs.create(config).id]
    file = tmp_path / "exported.yaml"
    chosen["method.loss_type"] = "robust"  # which label_smoothing needs
    documents = configs_with_every_setting(chosen)
    assert len(documents) > 1
    for document in documents:
        rows = datasets[parse_job_config(document).method.row_kinds[0]]
        evaluated = {"eval_dataset": rows} if "eval_dataset" in document else {}
        first = client.jobs.create(document | {"dataset": [rows] * 2} | evaluated)
        file.write_text(cli("show", first.id, "--yaml").out, "utf-8")
        second = cli("submit", file, "--quiet").out.strip()
        again = client.jobs.create(client.jobs.get(first.id).config)
        stored = stored_configs(world)
        assert stored[first.id] == stored[second] == stored[again.id]
        assert len({first.id, second, again.id}) == 3


def test_a_config_is_exported_as_yaml_only(world, client, config, monkeypatch, capsys):
    job = client.jobs.create(config)
    run = Cli(world.url(""), monkeypatch, capsys)("show", job.id, "--yaml", "--json")
    assert run.code == 2
    assert "cannot be combined" in run.err


def test_pause_resume_and_order(client, config):
    first, second = (client.jobs.create(config) for _ in range(2))
    assert client.jobs.pause(first.id).status is JobStatus.PAUSED
    assert client.jobs.wait(first.id, until="paused").paused_at is not None
    with pytest.raises(errors.ConflictError, match="is paused"):
        client.jobs.pause(first.id)
    with pytest.raises(errors.NotFoundError):
        client.jobs.resume(first.id, "step-00000001")
    assert client.jobs.resume(first.id).queue_position == 1
    assert client.jobs.set_priority(second.id, 90).queue_position == 1
    assert client.jobs.set_priority(first.id, 90).queue_position == 1
    assert client.jobs.move_to_front(second.id).queue_position == 1
    assert client.jobs.move_behind(second.id, first.id).queue_position == 2
    codes = [event.data["code"] for event in client.jobs.events(second.id, kinds="notice")]
    assert codes == ["priority_changed", "moved_to_front", "moved_behind"]
    assert "Waiting for the scheduler" in client.jobs.get(first.id).message


def test_several_files_and_more_of_them(client, config, tmp_path):
    file = tmp_path / "more.jsonl"
    file.write_bytes(ROW * 2)
    more = client.datasets.upload(file).id
    job = client.jobs.create(config | {"dataset": [config["dataset"], more]})
    assert (job.datasets, job.num_files, job.file, job.file_progress) == ([config["dataset"], more], 2, None, None)
    assert client.jobs.append(job.id, more).datasets == [config["dataset"], more, more]
    with pytest.raises(errors.NotFoundError):
        client.jobs.append(job.id, "ds-unknown")
    with pytest.raises(errors.ConflictError):
        client.datasets.delete(more)
    client.jobs.cancel(job.id)
    with pytest.raises(errors.ConflictError):
        client.jobs.append(job.id, more)
    client.datasets.delete(more)


def test_a_full_queue_is_said_at_once(client, config):
    assert client.quota.set(max_queued_jobs=0, weight=2).weight == 2.0
    with pytest.raises(errors.RateLimitError) as caught:
        client.jobs.create(config)
    assert (caught.value.code, caught.value.param) == ("quota_exceeded", "max_queued_jobs")
    assert client.quota.set(max_queued_jobs=None) == client.quota.get()
    client.jobs.create(config)


def test_a_large_upload_beyond_the_quota_gets_its_answer(client, config, tmp_path):
    client.quota.set(max_upload_bytes=1000)
    file = tmp_path / "large.jsonl"
    file.write_bytes(ROW * 1_000_000)
    with pytest.raises(errors.RateLimitError) as caught:
        client.datasets.upload(file)
    assert caught.value.param == "max_upload_bytes"


def test_errors(client, config):
    with pytest.raises(errors.NotFoundError):
        client.jobs.create(config | {"dataset": "ds-none"})
    with pytest.raises(errors.NotFoundError):
        list(client.jobs.follow("job-none"))
    client.jobs.create(config, "key-2")
    with pytest.raises(errors.InvalidRequestError) as caught:
        client.jobs.create(config | {"name": "other"}, "key-2")
    assert caught.value.code == "idempotency_key_reused"
    assert list(client.models.list()) == []


def test_history_and_follow(world, client):
    ref = world.add_job()
    world.append(ref, 1500)
    follower = client.jobs.follow(ref.id)
    seen = [next(follower).seq for _ in range(1200)]
    world.append(ref, 10)
    world.finish(ref)
    seen += [event.seq for event in follower]
    last = client.jobs.get(ref.id).last_seq
    assert seen == list(range(1, last + 1))
    assert [event.seq for event in client.jobs.events(ref.id)] == seen
    assert len(client.jobs.logs(ref.id, tail=7)) == 7
    assert client.jobs.metrics(ref.id) == client.jobs.checkpoints(ref.id) == client.jobs.attempts(ref.id) == []


def test_downloads(world, client, config, tmp_path):
    job = client.jobs.create(config)
    with pytest.raises(errors.NotFoundError):
        client.jobs.download_model(job.id, tmp_path / "model.zip")
    folder = tmp_path / "home" / "jobs" / job.id / "model"
    weights = b"weights" * 100_000
    commit_folder(folder, {"adapter_model.safetensors": weights})
    with world.store.begin() as tx:
        now = datetime.now(UTC)
        tx.models.add(ModelRecord("mdl-1", "local", job.id, "tuned", "adapter", "org/tiny", None, 3, folder, None, now))
    client.jobs.download_model(job.id, tmp_path / "model.zip")
    with ZipFile(tmp_path / "model.zip") as archive:
        assert archive.read("adapter_model.safetensors") == weights
    client.jobs.download_logs(job.id, tmp_path / "logs.zip")
    with ZipFile(tmp_path / "logs.zip") as archive:
        assert "events.jsonl" in archive.namelist()
    assert client.models.get("mdl-1").job_id == job.id


def test_the_command_line(world, config, monkeypatch, capsys, tmp_path):
    cli = Cli(world.url(""), monkeypatch, capsys)
    file = tmp_path / "job.yaml"
    file.write_text(f"name: mine\nmodel: {config['model']}\ndataset: rows.jsonl\n")
    job_id = cli("submit", file).out.strip()
    assert cli("ls").lines[1].startswith(f"{job_id}\tmine\t○ queued")
    assert "rows.jsonl" in cli("datasets", "ls").out
    assert cli("queue", "--json").json["queued"][-1]["job_id"] == job_id
    assert cli("pause", "mine").out == f"{job_id}\tpaused\n"
    assert cli("resume", "mine").out == f"{job_id}\tqueued\n"
    assert cli("move", "mine", "--front", "--priority", 60).out == f"{job_id}\tqueued\n"
    assert "1 of " in cli("quota").out
    assert (
        cli("submit", file, "--idempotency-key", "again").out == cli("submit", file, "--idempotency-key", "again").out
    )
    assert cli("cancel", job_id, "--yes").out == f"{job_id}\tcancelled\n"
    assert cli("wait", job_id, "-f").code == 6
    assert cli("logs", job_id).code == 0
    assert cli("show", job_id).code == 0
    run = cli("resume", job_id, "--set", "training.learning_rate=1e-4", "--set", "lora.r=8")
    assert run.out == f"{job_id}\tqueued\n"
    assert run.err.endswith("Changed: lora.r 16 -> 8, training.learning_rate 0.0002 -> 0.0001.\n")
    changed = "Changed by the user: lora.r 16 -> 8, training.learning_rate 0.0002 -> 0.0001."
    assert cli("show", job_id).lines[-1] == changed
    assert "  learning_rate: 0.0001" in cli("show", job_id, "--yaml").lines
    cli("pause", job_id)
    refused = cli("resume", job_id, "--suggested")
    assert (refused.code, "nothing is suggested" in refused.err) == (1, True)
    cli("resume", job_id, "--original")
    assert "  learning_rate: 0.0002" in cli("show", job_id, "--yaml").lines
    assert cli("download", job_id).code in (1, 3)


def test_a_model_is_checked_before_a_job_needs_it(world, client, config, monkeypatch, capsys):
    found = client.models.check(config["model"])
    assert (found.kind, found.architecture, found.parameters, found.is_local) == ("path", "LlamaForCausalLM", 8, True)
    cli = Cli(world.url(""), monkeypatch, capsys)
    run = cli("models", "check", "org/tiny")
    assert (run.code, run.err) == (0, "")
    assert {"Model            org/tiny", "Parameters       8", "Chat template    yes"} <= set(run.lines)
    assert cli("models", "check", "org/tiny", "--json").json["licence"] == "apache-2.0"
    world.huggingface.answers["org/gated"] = errors.PermissionDeniedError(
        "It is gated.", "model_access_denied", "model"
    )
    with pytest.raises(errors.PermissionDeniedError) as caught:
        client.models.check("org/gated")
    assert caught.value.code == "model_access_denied"
    assert cli("models", "check", "job:job-none").code == 3
    world.huggingface.answers["org/far"] = None
    run = cli("models", "check", "org/far")
    assert run.lines == ["Model  org/far"]
    assert run.err.startswith("Warning: The model hub is unreachable")


def test_a_unique_name_serves_wherever_an_id_does(world, client, config, monkeypatch, capsys, tmp_path):
    cli = Cli(world.url(""), monkeypatch, capsys)
    job_file = tmp_path / "elsewhere" / "job.yaml"
    job_file.parent.mkdir()
    job_file.write_text(f"model: {config['model']}\ndataset: rows.jsonl\neval_dataset: rows.jsonl\nname: by name\n")
    run = cli("submit", job_file)
    assert run.code == 0, run.err
    job = client.jobs.get("by name")
    assert (job.id, job.config["dataset"], job.config["eval_dataset"]) == (run.out.strip(), *[config["dataset"]] * 2)
    assert client.datasets.get("rows.jsonl").id == config["dataset"]
    assert client.jobs.append("by name", "rows.jsonl").datasets == [config["dataset"]] * 2
    client.jobs.cancel("by name")
    assert next(client.jobs.follow("by name")).seq == 1
    file = tmp_path / "other" / "rows.jsonl"
    file.parent.mkdir()
    file.write_bytes(ROW)
    second = client.datasets.upload(file)
    run = cli("submit", job_file)
    assert run.code == 1
    assert f"'rows.jsonl' matches several datasets: {second.id}, {config['dataset']}. Give one id." in run.err


def test_what_submit_and_upload_say(world, client, config, monkeypatch, capsys, tmp_path):
    cli = Cli(world.url(""), monkeypatch, capsys)
    run = cli("datasets", "upload", tmp_path / "rows.jsonl")
    assert (run.out, run.err) == (
        f"{config['dataset']}\n",
        f"rows.jsonl was uploaded before; using {config['dataset']}.\n",
    )
    job_file = tmp_path / "job.yaml"
    job_file.write_text("model: org/away\ndataset: rows.jsonl\n")
    world.huggingface.answers["org/away"] = None
    run = cli("submit", job_file, "--idempotency-key", "k")
    assert (run.code, "Notice: The model hub is unreachable" in run.err) == (0, True)
    again = cli("submit", job_file, "--idempotency-key", "k")
    assert (again.out, "was used before, for job" in again.err) == (run.out, True)
    other = cli("submit", job_file, "--idempotency-key", "k", "--set", "priority=3")
    assert "was used before with another config, for job" in other.err
    swapped = cli("datasets", "upload", tmp_path / "rows.jsonl", "--column", "question=prompt")
    assert "It has a field that no shape has; the field comes first, as prompt=COLUMN" in swapped.err


def test_models_are_pinned_and_artifacts_deleted_and_pushed(client, world, monkeypatch, capsys):
    cli = Cli(world.url(""), monkeypatch, capsys)
    monkeypatch.setenv("HF_TOKEN", "hf_canaryofthecli")
    files = {"model.gguf": b"x" * 100}
    for name in ("job-export", "job-tuned"):
        add_export(world.store, name)
    write_artifact(world.settings.home, "job-export", files=files)
    write_artifact(world.settings.home, "job-export", "gguf-f16", files=files)
    for arguments, code, sentence in (
        (
            ("job-export-name", "me/sums"),
            2,
            "Name the artifact with --artifact; the export has 2: gguf-f16, gguf-q8_0.",
        ),
        (("job-export", "sums", "--artifact", "gguf-f16"), 2, "must be OWNER/NAME"),
        (("job-export", "me/sums", "--artifact", "q4"), 3, "no artifact of this name; it has gguf-f16, gguf-q8_0."),
    ):
        refused = cli("push", *arguments)
        assert (refused.code, sentence in refused.err) == (code, True), refused.err
        assert "canary" not in refused.err + refused.out
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    refused = cli("push", "job-export", "me/sums", "--artifact", "gguf-f16")
    assert (refused.code, "There is no token for the hub: set HF_TOKEN" in refused.err) == (2, True)

    with pytest.raises(errors.ConflictError, match="is queued"):
        client.exports.delete("job-export", "gguf-f16")
    bring(world.store, "job-export", JobStatus.FAILED)
    removed = cli("rm", "job-export", "--artifact", "gguf-f16", "--yes")
    assert removed.err == "Deleted gguf-f16 of export 'job-export-name'.\n"
    assert [artifact.name for artifact in client.exports.list("job-export")[0].artifacts] == ["gguf-q8_0"]
    assert [path.name for path in (world.settings.home / "jobs" / "job-export" / "artifacts").iterdir()] == [
        "gguf-q8_0"
    ]
    with pytest.raises(errors.NotFoundError):
        client.exports.delete("job-export", "gguf-f16")
    [use] = [use for use in client.disk().data if use.kind == "exports"]
    assert (use.owner, use.num, use.size_bytes > 100) == ("local", 1, True)

    with world.store.begin() as tx:
        tx.models.add(replace(model("job-tuned", "mdl-1"), name="support"))
    assert cli("models", "pin", "support").err == "Model 'support' is pinned.\n"
    assert client.models.get("mdl-1").is_pinned
    assert cli("models", "ls").lines[1].endswith("pinned")
    assert cli("models", "unpin", "support", "--json").json["is_pinned"] is False
    assert client.models.pin("mdl-1").is_pinned


def test_checkpoints_are_pinned_and_deleted(client, config, world, monkeypatch, capsys):
    cli = Cli(world.url(""), monkeypatch, capsys)
    job = client.jobs.create(config | {"name": "kept"}).id
    ref = bring(world.store, job, JobStatus.RUNNING)
    for step in (10, 20, 30, 40):
        commit_folder(
            world.settings.home / "jobs" / job / "checkpoints" / f"step-{step:08d}", {"x": b"x"}, job_id=job, step=step
        )
        with world.store.begin() as tx:
            tx.checkpoints.add(ref, checkpoint(job, step, ref.attempt))
    with world.store.begin() as tx:
        tx.jobs.move(ref, JobStatus.FAILED, now=datetime.now(UTC))

    assert client.jobs.pin_checkpoint(job, "20").is_pinned
    assert cli("checkpoints", "pin", "kept", "step-00000010").err == "step-00000010 of job 'kept' is pinned.\n"
    assert [line.split("\t")[-1] for line in cli("checkpoints", "ls", "kept").lines[1:]] == ["", "", "pinned", "pinned"]
    with pytest.raises(errors.ConflictError, match="pinned"):
        client.jobs.delete_checkpoint(job, "10")
    assert cli("checkpoints", "unpin", "kept", "10", "--json").json["is_pinned"] is False
    assert cli("checkpoints", "rm", "kept", "10", "--yes").err == "Deleted 10 of job 'kept'.\n"
    with pytest.raises(errors.NotFoundError):
        client.jobs.delete_checkpoint(job, "10")

    shown = cli("checkpoints", "prune", "--dry-run")
    assert [line.split("\t")[1] for line in shown.lines[1:]] == ["step-00000030", "step-00000040", "step-00000020"]
    assert "stays: It is pinned." in shown.out
    assert "Would delete 1 checkpoint of 5.0 GB." in shown.err
    assert "Deleted 1 checkpoint" in cli("checkpoints", "prune", "kept", "--yes").err
    assert "nothing to delete" in cli("checkpoints", "prune", "kept", "--yes").err
    assert [found.step for found in client.jobs.checkpoints(job)] == [40, 20]
    assert client.jobs.prune_checkpoints([job], older_than_days=1, dry_run=True).data == []


def test_models_are_deleted_by_a_rule(client, config, world, monkeypatch, capsys):
    cli = Cli(world.url(""), monkeypatch, capsys)
    for name in ("first", "second"):
        job = client.jobs.create(config | {"name": name}).id
        ref = bring(world.store, job, JobStatus.RUNNING)
        folder = world.settings.home / "jobs" / job / "model"
        folder.mkdir(parents=True)
        (folder / "adapter_model.safetensors").write_bytes(b"x" * 100)
        made = replace(model(job, f"mdl-{name}"), name=name, owner="local", path=folder)
        with world.store.begin() as tx:
            tx.models.add(made)
            tx.attempts.end(ref, reason=ReasonCode.OK, message="", now=datetime.now(UTC))
            tx.attempts.released(ref)
            tx.attempts.count(ref, now=datetime.now(UTC))
            tx.jobs.move(ref, JobStatus.COMPLETED, now=datetime.now(UTC), model_id=made.id)
            tx.jobs.set_mlflow(job, cursor=MlflowCursor(tx.jobs.get(job).last_seq))
    rule = ("models", "prune", "--no-keep-best")
    shown = cli(*rule, "--dry-run")
    assert [line.split("\t")[0] for line in shown.lines[1:]] == ["mdl-first", "mdl-second"]
    assert "stays: " in shown.lines[2]
    assert "Would delete 1 model of 100 B." in shown.err
    assert "Deleted 1 model of 100 B." in cli(*rule, "--yes").err
    assert [left.id for left in client.models.list()] == ["mdl-second"]


def test_the_disk(client, config, world, monkeypatch, capsys):
    found = client.disk()
    assert {use.kind: use.num for use in found.data}["datasets"] == 1
    shown = Cli(world.url(""), monkeypatch, capsys)("disk")
    assert shown.lines[1].split("\t")[:3] == ["datasets", "local", "1"]
    assert "are free." in shown.err


def test_a_file_with_several_jobs_is_submitted_as_a_chain(client, config, address, tmp_path, monkeypatch, capsys):
    file = tmp_path / "chain.yaml"
    second = "name: second\nmodel: job:first\ndataset: rows.jsonl\n"
    measured = "kind: evaluation\nname: measured\nmodels: [job:second]\ndataset: rows.jsonl\nafter: first\n"
    file.write_text(f"name: first\nmodel: {config['model']}\ndataset: rows.jsonl\n---\n{second}---\n{measured}---\n")
    ftlab = Cli(address, monkeypatch, capsys)
    tried = ftlab("submit", file, "--dry-run")
    assert tried.code == 0, tried.err
    assert "Job 2, 'second' (training): checked its settings, model " in tried.err
    assert "  checked once it exists: the model that job 'second' delivers" in tried.err
    assert list(client.jobs.list()) == []
    refused = ftlab("submit", file, "--set", "priority=1")
    assert (refused.code, "has 3 jobs; give their settings in the file" in refused.err) == (2, True)
    run = ftlab("submit", file, "--idempotency-key", "once")
    assert run.code == 0, run.err
    assert "Job 'measured' is in the queue and waits for 'first', 'second'." in run.err
    first, second, measured = (client.jobs.get(job_id) for job_id in run.lines)
    assert [child.name for child in first.children] == ["second", "measured"]
    assert measured.config["after"] == [first.id, second.id]
    assert ftlab("submit", file, "--idempotency-key", "once").lines == run.lines
    shown = ftlab("show", second.id)
    assert f"first ({first.id}, queued)" in shown.out
    assert f"measured ({measured.id}, queued)" in shown.out
    assert f"Models       second (job:{second.id})" in ftlab("show", measured.id).out
    pushed = ftlab("push", "first", "me/first")
    assert (pushed.code, f"Job {first.id} is not an export." in pushed.err) == (2, True), pushed.err
    for command in (("eval", "nobody", "--dataset", "rows.jsonl"), ("export", "nobody")):
        unknown = ftlab(*command)
        assert (unknown.code, unknown.err) == (3, "ftlab: There is no job 'nobody'.\n")
    early = ftlab("eval", "first", "--dataset", "rows.jsonl", "--dry-run")
    assert f"- job:{first.id}" in early.out
    file.write_text(file.read_text().replace("job:first", "job:third"))
    wrong = ftlab("submit", file)
    assert (wrong.code, "jobs.1: There is no job" in wrong.err) == (3, True), wrong.err
    assert len(list(client.jobs.list())) == 3
