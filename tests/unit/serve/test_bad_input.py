"""What people and programs get wrong, against a real server: refused in the one shape, and the service lives on."""

import gzip
import json
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from ftlab.settings import Settings
from serve.app import create_app
from serve.models.huggingface import CachedHuggingFace
from serve.models.huggingface_lookup import ask_hub
from tests.support.huggingface_server import HubServer, Repository
from tests.support.model_folders import write_model
from tests.support.service_fakes import fake_services, running
from tests.unit.serve.conftest import ROWS
from tests.unit.serve.refusals import DATASETS, JOBS, SECRET, Server, error_of
from tracking.store import Store

PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(100)


@pytest.fixture(scope="module")
def hub_url(tmp_path_factory):
    """A model hub with good and bad models; the service has a token for it."""
    folder = tmp_path_factory.mktemp("hub")
    server = HubServer()
    for name, model in {
        "name": {},
        "gated": {},
        "pickled": {"without": ["model.safetensors"]},
        "damaged": {"num_shards": 2, "without": ["model-00002-of-00002.safetensors"]},
        "vision": {"config": {"model_type": "vit"}},
        "code": {"config": {"model_type": SECRET, "auto_map": {"AutoModel": f"{SECRET}.Model"}}},
    }.items():
        server.repositories[f"org/{name}"] = Repository(write_model(folder / name, **model))
    (folder / "pickled" / "pytorch_model.bin").write_bytes(b"pickle")
    server.repositories["org/gated"].gated = "manual"
    with pytest.MonkeyPatch.context() as environment, running(server.app) as url:
        environment.setenv("HF_TOKEN", SECRET)
        yield url


@pytest.fixture(scope="module")
def server(tmp_path_factory, hub_url):
    home = tmp_path_factory.mktemp("home")
    for name, files in {"pickled": ["config.json", "model.bin"], "empty": []}.items():
        (home / "models" / name).mkdir(parents=True)
        for file in files:
            (home / "models" / name / file).write_text("{}")
    settings = Settings(home=home, max_upload_bytes=1024 * 1024)
    store = Store.open(settings.store_url)
    store.migrate()
    models = CachedHuggingFace(partial(ask_hub, endpoint=hub_url))
    app = create_app(fake_services(settings, store, huggingface=models))
    with running(app) as url:
        server = Server(int(url.rsplit(":", 1)[1]), models=str(home / "models"))
        upload = server.send("POST", DATASETS, ROWS, {"x-filename": "chat.jsonl"})
        server.dataset = json.loads(upload[2])["id"]
        config = {"model": "org/name", "dataset": server.dataset, "name": "done"}
        server.job = json.loads(server.post_job(config, **{"idempotency-key": "used"})[2])["id"]
        server.send("POST", f"{JOBS}/{server.job}/cancel")
        yield server
    store.close()


@dataclass
class Case:
    """One request and the answer it must get. `body` may be a function of a config that is accepted."""

    status: int
    code: str
    body: Any = None
    path: str = JOBS
    method: str = "POST"
    headers: dict[str, str] = field(default_factory=dict)
    message: str = ""
    param: str | None = None


def job(status: int, code: str, message: str = "", param: str | None = None, **change: Any) -> Case:
    return Case(status, code, lambda config: config | change, message=message, param=param)


def training(message: str, **change: Any) -> Case:
    return job(422, "invalid_config", message, training=change)


def raw(status: int, code: str, body: bytes, message: str = "") -> Case:
    return Case(status, code, body, message=message)


def upload(code: str, body: bytes, message: str = "", filename: str = "a.jsonl") -> Case:
    return Case(422, code, body, DATASETS, headers={"x-filename": filename}, message=message)


def get(status: int, code: str, path: str, **headers: str) -> Case:
    return Case(status, code, path=path, method="GET", headers=headers)


def change(
    status: int, code: str, body: bytes, param: str | None = None, message: str = "", path: str = f"{JOBS}/done"
) -> Case:
    return Case(status, code, body, path, "PATCH", message=message, param=param)


def row(*turns: tuple[str, str]) -> bytes:
    messages = [{"role": role, "content": content} for role, content in turns]
    return json.dumps({"messages": messages}).encode() + b"\n"


GOOD_ROW = row(("user", "a"), ("assistant", "b"))

CASES = {
    "empty body": raw(422, "invalid_body", b""),
    "null": raw(422, "invalid_body", b"null"),
    "array": raw(422, "invalid_body", b"[]"),
    "string": raw(422, "invalid_body", b'"hf_canarycanarycanary"'),
    "empty object": raw(422, "invalid_config", b"{}", "is required"),
    "broken": raw(400, "malformed_json", b'{"model": "hf_canarycanarycanary",\n oops}', "line 2, column 2"),
    "unclosed": raw(400, "malformed_json", b'{"model": "hf_canarycanarycanary', "line 1, column 11"),
    "two documents": raw(400, "malformed_json", b'{"a": 1} {"hf_canarycanarycanary": 2}', "line 1, column 10"),
    "not utf-8": raw(400, "malformed_json", b'{"model": "\xff hf_canarycanarycanary"}'),
    "nan": raw(422, "invalid_body", b'{"training": {"learning_rate": NaN}}'),
    "infinity": raw(422, "invalid_body", b'{"training": {"learning_rate": -Infinity}}'),
    "1e400": raw(422, "invalid_body", b'{"training": {"learning_rate": 1e400}}'),
    "lone surrogate": raw(422, "invalid_body", b'{"name": "hf_canarycanarycanary\\ud800"}'),
    "nul in a name": raw(422, "invalid_body", b'{"name": "hf_canarycanarycanary\\u0000"}'),
    "a field twice": raw(422, "invalid_body", b'{"model": "hf_canarycanarycanary", "model": "b"}'),
    "long number": raw(422, "invalid_body", b'{"max_retries": ' + b"1" * 10_000 + b"}"),
    "deep": raw(422, "invalid_body", b'{"a":' * 60 + b"1" + b"}" * 60),
    "bomb": raw(422, "invalid_body", b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "large json": raw(413, "payload_too_large", b'{"model": "' + b"x" * 50 * 1024**2 + b'"}'),
    "large json, chunked": Case(413, "payload_too_large", b"x" * 3 * 1024**2, headers={"transfer-encoding": "chunked"}),
    "control character in a name": job(422, "invalid_config", "name must not", "name", name="a\x1bb"),
    "long name": job(422, "invalid_config", "at most 200", "name", name=SECRET * 20),
    "unknown field": Case(
        422,
        "unknown_field",
        lambda config: config | {"training": {"learning_rte": SECRET}},
        message="Did you mean 'learning_rate'?",
        param="training.learning_rte",
    ),
    "field of no name": job(422, "unknown_field", "does not exist", **{f"<b>{SECRET}</b>": 1}),
    "epochs true": training("must be a number", num_train_epochs=True),
    "epochs text": training("must be a number", num_train_epochs="3"),
    "steps 3.5": training("must be a whole number", max_steps=3.5),
    "steps text": training("training.max_steps must be a whole number.", max_steps=SECRET),
    "lr 0": training("training.learning_rate must be greater than 0", learning_rate=0),
    "lr -1": training("training.learning_rate must be greater than 0", learning_rate=-1),
    "lr 10": training("training.learning_rate must be at most 1", learning_rate=10),
    "lr huge integer": training("training.learning_rate must be", learning_rate=10**400),
    "batch 0": training("per_device_train_batch_size must be at least 1", per_device_train_batch_size=0),
    "batch 1e9": training("must be at most 4096", per_device_train_batch_size=10**9),
    "seed 2^64": training("training.seed must be", seed=2**64),
    "seed 2^200": training("training.seed must be", seed=2**200),
    "fp16 and bf16": training("training.bf16 and training.fp16", bf16=True, fp16=True),
    "warm-up above total": training(
        "training.warmup_steps (10) must not be above training.max_steps (5)", warmup_steps=10, max_steps=5
    ),
    "two warm-ups": training("training.warmup_steps", warmup_steps=1, warmup_ratio=0.5),
    "prefetch without workers": training("needs training.dataloader_num_workers", dataloader_prefetch_factor=2),
    "noise in dpo": job(
        422, "invalid_config", "neftune_noise_alpha", method={"type": "dpo"}, training={"neftune_noise_alpha": 5.0}
    ),
    "early stopping, no eval steps": training("needs training.eval_steps", early_stopping_patience=3),
    "early stopping, no eval dataset": training("needs eval_dataset", early_stopping_patience=3, eval_steps=5),
    "r 0": job(422, "invalid_config", "lora.r must be at least 1", "lora.r", lora={"r": 0}),
    "length 0": job(422, "invalid_config", "method.max_length must be", method={"max_length": 0}),
    "length 1e8": job(422, "invalid_config", "method.max_length must be", method={"max_length": 10**8}),
    "unknown method": job(422, "invalid_config", "method.type must be", method={"type": SECRET}),
    "qlora, full": job(422, "invalid_config", "load_in_4bit needs tuning 'lora'", load_in_4bit=True, tuning="full"),
    "dpo without pairs": job(422, "dataset_kind_mismatch", "dpo", "dataset", method={"type": "dpo"}),
    "8-bit, 4-bit": job(422, "invalid_config", "cannot be combined", load_in_4bit=True, load_in_8bit=True),
    "8-bit dora": job(422, "invalid_config", "lora.use_dora", load_in_8bit=True, lora={"use_dora": True}),
    "8-bit pissa": job(
        422, "invalid_config", "init_lora_weights 'pissa'", load_in_8bit=True, lora={"init_lora_weights": "pissa"}
    ),
    "unknown init": job(
        422, "invalid_config", "lora.init_lora_weights", "lora.init_lora_weights", lora={"init_lora_weights": SECRET}
    ),
    "unknown dataset": job(404, "dataset_not_found", param="dataset", dataset=SECRET),
    "unknown eval dataset": job(404, "dataset_not_found", param="eval_dataset", eval_dataset=SECRET),
    "model ../..": job(422, "invalid_model_id", param="model", model="../../etc/passwd"),
    "model /etc": job(422, "invalid_model_id", param="model", model="/etc"),
    "model file:": job(422, "invalid_model_id", param="model", model=f"file:///{SECRET}"),
    "model url": job(422, "invalid_model_id", param="model", model=f"https://{SECRET}.example/x"),
    "model empty": job(422, "invalid_model_id", param="model", model=""),
    "model 10 kB": job(422, "invalid_model_id", param="model", model="a/" + SECRET * 500),
    "model 512 of 4 bytes": job(422, "invalid_model_id", param="model", model="/" + "\U0001f600" * 500),
    "model job": job(404, "model_not_found", param="model", model="job:job-000000000000"),
    "model id": job(404, "model_not_found", param="model", model="model:mdl-0"),
    **{
        f"model {name}": job(status, code, param="model", model=f"org/{name}")
        for name, status, code in (
            (SECRET, 404, "model_not_found"),
            ("name@v9", 404, "model_not_found"),
            ("gated", 403, "model_access_denied"),
            ("pickled", 422, "unsafe_weights"),
            ("damaged", 422, "model_invalid"),
            ("vision", 422, "unsupported_model"),
            ("code", 403, "remote_code_not_allowed"),
            ("na--me", 422, "invalid_model_id"),
        )
    },
    **{
        f"check of {name}": Case(status, code, json.dumps({"model": name}).encode(), "/api/models/check", param="model")
        for name, status, code in (
            ("", 422, "invalid_model_id"),
            ("../../etc/passwd", 422, "invalid_model_id"),
            ("/etc", 422, "invalid_model_id"),
            (f"org/{SECRET}", 404, "model_not_found"),
            ("org/gated", 403, "model_access_denied"),
            ("job:job-0", 404, "model_not_found"),
        )
    },
    "check of nothing": Case(422, "invalid_body", b"{}", "/api/models/check", param="model"),
    "trust_remote_code": job(403, "remote_code_not_allowed", param="trust_remote_code", trust_remote_code=True),
    "trust_remote_code off": job(422, "unknown_field", trust_remote_code=False),
    "dataset of 0 bytes": upload("dataset_invalid", b""),
    "dataset line 3 broken": upload("dataset_invalid", GOOD_ROW * 2 + b'{"messages": hf_canary', "line 3"),
    "png named .jsonl": upload("dataset_invalid", PNG),
    "wrong role": upload("dataset_invalid", row(("wizard", "a"), ("assistant", "b")), "line 1"),
    "assistant missing": upload("dataset_invalid", row(("user", SECRET)), "line 1"),
    "ending": upload("dataset_invalid", GOOD_ROW, filename=f"{SECRET}.exe"),
    "no file name": Case(422, "missing_file", GOOD_ROW, DATASETS, param="x-filename"),
    "unknown bucket": Case(
        422, "invalid_parameter", GOOD_ROW, f"{DATASETS}?bucket={SECRET}", message="'lora-datasets'", param="bucket"
    ),
    "bad display name": Case(422, "invalid_parameter", GOOD_ROW, f"{DATASETS}?name=a%0Ab", param="name"),
    "form without boundary": Case(
        400, "malformed_form", b"--x", DATASETS, headers={"content-type": "multipart/form-data"}
    ),
    "broken form": Case(
        400, "malformed_form", b"nonsense", DATASETS, headers={"content-type": "multipart/form-data; boundary=x"}
    ),
    "form cut off": Case(
        400,
        "malformed_form",
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n' + GOOD_ROW,
        DATASETS,
        headers={"content-type": "multipart/form-data; boundary=x"},
    ),
    "long boundary": Case(
        400, "malformed_form", b"--x", DATASETS, headers={"content-type": f"multipart/form-data; boundary={'x' * 9000}"}
    ),
    "large upload": Case(413, "payload_too_large", b"x" * 3 * 1024**2, DATASETS, headers={"x-filename": "a.jsonl"}),
    "large upload, chunked": Case(
        413,
        "payload_too_large",
        b"x" * 3 * 1024**2,
        DATASETS,
        headers={"x-filename": "a.jsonl", "transfer-encoding": "chunked"},
    ),
    "chosen is rejected": upload("dataset_invalid", b'{"prompt": "a", "chosen": "b", "rejected": "b"}\n', "line 1"),
    "png named .gz": upload("dataset_invalid", PNG, filename="a.jsonl.gz"),
    "gzip cut off": upload("dataset_invalid", gzip.compress(GOOD_ROW * 100)[:-20], filename="a.jsonl.gz"),
    "parquet that is none": upload("dataset_invalid", GOOD_ROW, filename="a.parquet"),
    "columns that are no json": Case(
        422, "invalid_mapping", GOOD_ROW, f"{DATASETS}?columns={SECRET}", headers={"x-filename": "a.jsonl"}
    ),
    "columns that do not exist": Case(
        422,
        "invalid_mapping",
        GOOD_ROW,
        f"{DATASETS}?shape=alpaca&columns=%7B%22{SECRET}%22%3A%22a%22%7D",
        headers={"x-filename": "a.jsonl"},
    ),
    **{
        f"upload of {body}": Case(status, code, json.dumps(body).encode(), "/api/uploads", param=param)
        for body, status, code, param in (
            ({}, 422, "invalid_body", "filename"),
            ({"filename": "a.jsonl", "size_bytes": 0}, 422, "invalid_body", "size_bytes"),
            ({"filename": "a.jsonl", "size_bytes": "9"}, 422, "invalid_body", "size_bytes"),
            ({"filename": "a.jsonl", "size_bytes": 2**20 + 1}, 413, "payload_too_large", None),
            ({"filename": "a.jsonl", "size_bytes": 9, "bucket": SECRET}, 422, "invalid_parameter", "bucket"),
            ({"filename": "a.jsonl", "size_bytes": 9, "sha256": SECRET}, 422, "invalid_body", "sha256"),
            ({"filename": "a.jsonl", "size_bytes": 9, "sha1": SECRET}, 422, "unknown_field", "sha1"),
        )
    },
    "piece without an offset": Case(422, "invalid_parameter", b"x", "/api/uploads/up-0", "PATCH"),
    "piece of no upload": Case(
        404, "upload_not_found", b"x", "/api/uploads/up-0", "PATCH", headers={"upload-offset": "0"}
    ),
    "end of no upload": Case(404, "upload_not_found", b"", "/api/uploads/up-0/complete"),
    "signed url forged": get(403, "signed_url_invalid", f"/api/downloads/{SECRET}"),
    "key reused": Case(422, "idempotency_key_reused", lambda config: config, headers={"idempotency-key": "used"}),
    "key empty": Case(422, "invalid_parameter", lambda config: config, headers={"idempotency-key": ""}),
    "key long": Case(422, "invalid_parameter", lambda config: config, headers={"idempotency-key": "k" * 256}),
    "key not ascii": Case(422, "invalid_parameter", lambda config: config, headers={"idempotency-key": "é"}),
    **{
        f"limit={value}": get(422, "invalid_parameter", f"{JOBS}?limit={value}")
        for value in ("-1", "0", "1000000000", "abc", "1.5", "9" * 5000, "")
    },
    "status": get(422, "invalid_parameter", f"{JOBS}?status={SECRET}"),
    "forged cursor": get(400, "invalid_cursor", f"{JOBS}?after={SECRET}"),
    "forged dataset cursor": get(400, "invalid_cursor", f"{DATASETS}?after={SECRET}"),
    "forged model cursor": get(400, "invalid_cursor", f"/api/models?after={SECRET}"),
    "events after -1": get(422, "invalid_parameter", f"{JOBS}/done/events?after=-1"),
    "events after 2^70": get(422, "invalid_parameter", f"{JOBS}/done/events?after={2**70}"),
    "metric points": get(422, "invalid_parameter", f"{JOBS}/done/metrics?max_points=0"),
    "many series": get(422, "invalid_parameter", f"{JOBS}/done/metrics?names={','.join(map(str, range(200)))}"),
    "cancel an unknown job": Case(404, "job_not_found", path=f"{JOBS}/nothing/cancel"),
    **{
        f"{what} an unknown job": Case(404, "job_not_found", b'{"to": "front"}', f"{JOBS}/nothing/{what}")
        for what in ("pause", "move")
    },
    **{
        f"{what} a finished job": Case(409, "job_ended", None, f"{JOBS}/done/{what}", message="cancelled")
        for what in ("cancel", "pause")
    },
    **{
        f"resume with {body}": Case(status, code, body.encode(), f"{JOBS}/done/resume", param=param)
        for body, status, code, param in (
            ('{"config_adjustments": 3}', 422, "invalid_body", "config_adjustments"),
            ('{"config_adjustments": {"lerning_rate": 1}}', 422, "unknown_field", "lerning_rate"),
            (f'{{"config_adjustments": {{"{SECRET} x": 1}}}}', 422, "unknown_field", None),
            (f'{{"config_adjustments": {{"training.optim": "{SECRET}"}}}}', 422, "invalid_config", "training.optim"),
            (f'{{"config_adjustments": {{"model": "{SECRET}/../x"}}}}', 422, "invalid_model_id", "model"),
            ('{"config_adjustments": {"trust_remote_code": true}}', 403, "remote_code_not_allowed", None),
            (
                '{"config_adjustments": {"priority": 3}, "checkpoint": "../x"}',
                404,
                "checkpoint_not_found",
                "checkpoint",
            ),
            ('{"suggested": true}', 409, "no_suggestion", None),
            ('{"suggested": 1}', 422, "invalid_body", "suggested"),
        )
    },
    "move a finished job": Case(409, "job_not_queued", b'{"to": "front"}', f"{JOBS}/done/move", message="cancelled"),
    "priority of a finished job": change(409, "job_not_waiting", b'{"priority": 1}', message="cancelled"),
    "priority of an unknown job": change(404, "job_not_found", b'{"priority": 1}', path=f"{JOBS}/nothing"),
    "no change": change(422, "invalid_body", b"{}", message="priority or after must be given"),
    "no priority": change(422, "invalid_body", b'{"priority": null}', message="priority or after must be given"),
    "jobs to wait for": change(422, "invalid_body", b'{"after": ["job-1"]}', "after"),
    "empty change": change(422, "invalid_body", b""),
    "array as change": change(422, "invalid_body", b"[1]"),
    "broken change": change(400, "malformed_json", b'{"priority": 1'),
    "unknown change": change(422, "unknown_field", b'{"prioritty": 1}', "prioritty", "Did you mean 'priority'?"),
    "change of the status": change(422, "unknown_field", b'{"priority": 1, "status": "completed"}', "status"),
    **{
        f"priority {value}": change(422, "invalid_body", f'{{"priority": {value}}}'.encode(), "priority")
        for value in ("-1", "101", "1e3", "1.5", "true", f'"{SECRET}"', "[]", str(2**70))
    },
    **{
        f"move {body}": Case(422, code, body, f"{JOBS}/done/move", param=param)
        for body, code, param in (
            (b"{}", "invalid_body", "to"),
            (b'{"to": "back"}', "invalid_body", "to"),
            (b'{"to": 1}', "invalid_body", "to"),
            (b'{"to": null}', "invalid_body", "to"),
            (b'{"to": "front", "by": 1}', "unknown_field", "by"),
            (b'{"to": "front", "job": "done"}', "invalid_body", None),
            (b'{"to": "behind"}', "invalid_body", None),
            (b'{"to": "behind", "job": ""}', "invalid_body", "job"),
            (b"", "invalid_body", None),
        )
    },
    **{
        f"resume {body[:40]}": Case(422, code, body, f"{JOBS}/done/resume", param=param)
        for body, code, param in (
            (b'{"checkpoint": 10}', "invalid_body", "checkpoint"),
            (b'{"checkpoint": ""}', "invalid_body", "checkpoint"),
            (b'{"checkpoint": ["a"]}', "invalid_body", "checkpoint"),
            (b'{"checkpoint": "' + b"x" * 101 + b'"}', "invalid_body", "checkpoint"),
            (b'{"checkpoint": "a\\u0000"}', "invalid_body", None),
            (b'{"checkpoints": "a"}', "unknown_field", "checkpoints"),
            (b"[]", "invalid_body", None),
            (b"null", "invalid_body", None),
        )
    },
    "broken resume": Case(400, "malformed_json", b"{", f"{JOBS}/done/resume"),
    "resume from a path": Case(
        404, "job_not_found", path=f"/api/training/resume/nothing?checkpoint_path=../../{SECRET}"
    ),
    "resume from a path with NUL": Case(
        422, "invalid_parameter", path="/api/training/resume/done?checkpoint_path=a%00"
    ),
    **{
        f"quota {body}": Case(422, code, body, "/api/quota", "PUT", param=param)
        for body, code, param in (
            (b'{"max_queued_jobs": -1}', "invalid_body", "max_queued_jobs"),
            (b'{"max_queued_jobs": 1.5}', "invalid_body", "max_queued_jobs"),
            (b'{"max_queued_jobs": "9"}', "invalid_body", "max_queued_jobs"),
            (b'{"max_disk_bytes": 1e400}', "invalid_body", None),
            (b'{"max_disk_bytes": 99999999999999999999}', "invalid_body", "max_disk_bytes"),
            (b'{"max_running_gpus": NaN}', "invalid_body", None),
            (b'{"max_running_cpus": true}', "invalid_body", "max_running_cpus"),
            (b'{"weight": 0}', "invalid_body", "weight"),
            (b'{"weight": -1}', "invalid_body", "weight"),
            (b'{"max_uploads_bytes": 1}', "unknown_field", "max_uploads_bytes"),
            (b'{"owner": "someone"}', "unknown_field", "owner"),
            (b"", "invalid_body", None),
        )
    },
    "quota by POST": Case(405, "method_not_allowed", b"{}", "/api/quota"),
    "unknown kind of events": get(422, "invalid_parameter", f"{JOBS}/done/events?kind={SECRET}"),
    "traversal": get(404, "not_found", f"{DATASETS}/%2e%2e/%2e%2e/%2e%2e/etc/passwd/content"),
    "encoded traversal": get(404, "not_found", f"{DATASETS}/%2e%2e%2f%2e%2e%2fetc%2fpasswd/content"),
    "dots as id": get(404, "dataset_not_found", f"{DATASETS}/%2e%2e/content"),
    "nul in a path": get(404, "not_found", f"{JOBS}/job-%00"),
    "nul in a query": get(422, "invalid_parameter", f"{JOBS}?after=%00"),
    "long id": get(422, "invalid_parameter", f"{JOBS}/{'x' * 5000}"),
    "like wildcards": get(404, "job_not_found", f"{JOBS}/%25"),
    "wrong method": Case(405, "method_not_allowed", method="DELETE"),
    "rare method": Case(405, "method_not_allowed", method="PROPFIND"),
    "unknown route": get(404, "not_found", f"/api/{SECRET}"),
    "foreign host": get(400, "invalid_host", "/health", host=f"{SECRET}.example"),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_refused(server, name):
    case = CASES[name]
    good = {"model": "org/name", "dataset": server.dataset}
    body = json.dumps(case.body(good)).encode() if callable(case.body) else case.body
    error = error_of(server.send(case.method, case.path, body, case.headers), case.status, case.code)
    assert case.message in error["message"]
    if case.param:
        assert error["param"] == case.param
    assert server.send("GET", "/health")[0] == 200
    assert server.send("GET", JOBS)[0] == 200


def test_at_most_ten_problems_of_a_dataset_are_listed(server):
    _, _, text = server.send("POST", DATASETS, row(("user", "a")) * 30, {"x-filename": "a.jsonl"})
    message = json.loads(text)["error"]["message"]
    assert "30 problems" in message
    assert message.count("line ") == 10


def test_wrong_methods_name_the_right_ones(server):
    _, headers, _ = server.send("DELETE", JOBS)
    assert headers["allow"] == "GET, POST"


def test_pickle_only_and_missing_models(server):
    good = {"model": "org/name", "dataset": server.dataset}
    for name, expected in (("pickled", (422, "unsafe_weights")), ("empty", (404, "model_not_found"))):
        status, _, text = server.post_job(good | {"model": f"{server.models}/{name}"})
        assert (status, json.loads(text)["error"]["code"]) == expected


def test_no_bad_request_made_a_job(server):
    data = json.loads(server.send("GET", JOBS)[2])["data"]
    assert [entry["id"] for entry in data] == [server.job]
