"""Settings of the service and its clients. The environment is read here and nowhere else.

Order: flag > environment (`FTLAB_<NAME>`) > `./ftlab.toml` > `~/.config/ftlab/config.toml` > default.
"""

import json
import os
import re
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ftlab.errors import InvalidRequestError
from ftlab.model_ref import parse_model_ref
from ftlab.schemas.common import did_you_mean
from ftlab.schemas.error_rules import broken_rule
from ftlab.schemas.judge_servers import JUDGE_NAME, JudgeServer

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8000
FEW_CORES = 4
ANY_ADDRESS = "0.0.0.0"
"""Value of `host` with which the API listens on all addresses of the machine."""
OF_CLIENTS = frozenset({"api_key", "owner"})
"""Settings of clients, which the processes of the service do not get: the code of jobs runs below them."""
LISTS = ("model_roots", "reward_files", "notify_private_hosts", "allowed_hosts")
"""Settings whose variable holds several values, separated by `:`."""
DEFAULT_BUCKET = "training-files"
DEFAULT_BUCKETS = {DEFAULT_BUCKET: "", "lora-datasets": ""}

MAX_PRICE = 1_000_000
MAX_DECIMALS = 6

_DEVICE_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class Settings(BaseModel):
    """Every setting of the service, checked once."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    home: Path = Field(default_factory=lambda: Path.cwd() / ".ftlab")
    """Folder that holds all data: database, datasets, jobs, MLflow, logs."""
    server: str | None = None
    """Address of the service for clients; default `http://<host>:<port>`."""
    api_key: str | None = Field(default=None, repr=False)
    """Key that clients send; default: the one of `ftlab login`. A service without keys needs none."""
    owner: str | None = None
    """Other user for whom an admin's commands act."""
    host: str = DEFAULT_HOST
    """Address the HTTP API binds to; `0.0.0.0`: all addresses of the machine. Other machines need API keys."""
    allowed_hosts: tuple[str, ...] = ()
    """Other names under which clients reach the API, such as that of a proxy in front of it."""
    port: int = Field(default=DEFAULT_PORT, ge=1, le=65535)
    """Port of the HTTP API."""
    mlflow_port: int = Field(default=5000, ge=1, le=65535)
    """Port of the MLflow server."""
    dashboard_port: int = Field(default=8265, ge=1, le=65535)
    """Port of the Ray dashboard."""
    ray_port: int = Field(default=6379, ge=1, le=65535)
    """Port of Ray's own control store (GCS)."""
    database_url: str | None = Field(default=None, repr=False)
    """SQLAlchemy URL; default: SQLite in `home`."""
    model_roots: tuple[Path, ...] = ()
    """Folders that may contain local base models, besides `home/models`."""
    reward_files: tuple[Path, ...] = ()
    """Python files, and folders of them, whose functions jobs may use as rewards; default: none. Jobs run this code."""
    lm_eval_tasks: Path | None = None
    """Folder of lm-eval tasks that evaluations may name; default: none. Evaluations run functions in their files."""
    cpus: int | None = Field(default=None, ge=1)
    """CPU cores given to training; default: all."""
    standby: bool = True
    """Keep one training run started ahead of its job, so that the next job starts in seconds."""
    standby_idle_s: int = Field(default=900, ge=1)
    """Seconds without a job or a new dataset after which the standby run ends. The next one starts it again."""
    ingress: Literal["haproxy", "python"] = "haproxy"
    """HTTP proxy of Ray Serve. `haproxy` is faster and gives downloads and streams backpressure; where Ray does not
    bring it (it does on Linux), and with `python`, Serve's own proxy answers.
    """
    api_replicas: int = Field(default_factory=lambda: 1 if (os.cpu_count() or 1) <= FEW_CORES else 2, ge=1, le=64)
    """Replicas of the HTTP API. Default: 1 on a machine of up to four cores, else 2."""
    max_upload_bytes: int = Field(default=2 * 1024**3, ge=1)
    """Largest dataset file accepted."""
    buckets: dict[str, str] = Field(default_factory=lambda: dict(DEFAULT_BUCKETS))
    """Where datasets are stored: a name, and an fsspec URL such as `s3://bucket/folder`, or nothing for a folder below
    `home`. The two default buckets are always there; their URL can be changed.
    """
    prepared_cache_bytes: int = Field(default=20 * 1024**3, ge=0)
    """Bytes of prepared data that are kept for the next job; the least recently used is removed first."""
    file_cache_bytes: int = Field(default=20 * 1024**3, ge=0)
    """Bytes of copies on this machine of files in remote buckets."""
    quota_queued_jobs: int | None = Field(default=10_000, ge=0)
    """Jobs that one owner may have in the queue; like every quota, for owners without one of their own."""
    quota_running_gpus: float | None = Field(default=None, ge=0)
    """GPUs that the running jobs of one owner may hold; default: no limit."""
    quota_running_cpus: int | None = Field(default=None, ge=0)
    """CPU cores that the running jobs of one owner may hold; default: no limit."""
    quota_disk_bytes: int | None = Field(default=None, ge=0)
    """Bytes of one owner's datasets and checkpoints; default: no limit."""
    quota_upload_bytes: int | None = Field(default=None, ge=0)
    """Bytes of one owner's datasets; default: no limit."""
    quota_monthly_cost: Decimal | None = Field(default=None, gt=0)
    """What the jobs of one owner may cost in a calendar month (UTC); default: no limit. Needs `prices`."""
    key_requests_per_minute: int | None = Field(default=1200, ge=1)
    """Requests that one API key may send in a minute."""
    key_streams: int | None = Field(default=50, ge=1)
    """Live streams that one API key may have open at the same time."""
    key_upload_bytes_per_hour: int | None = Field(default=100 * 1024**3, ge=1)
    """Bytes of files that one API key may upload in an hour."""
    wrong_keys_per_minute: int = Field(default=20, ge=1)
    """Wrong API keys that one address may send in a minute before it gets 429. Its valid keys are still accepted."""
    audit_days: int = Field(default=365, ge=1, le=36500)
    """Days that entries of the audit log are kept."""
    stop_grace_s: float = Field(default=6.0, ge=0.0)
    """Seconds a running job gets to save its last checkpoint before it is ended by force."""
    recovery: Literal["none", "auto"] = "none"
    """Whether jobs that do not say otherwise recover automatically from a lack of memory and from a diverged loss."""
    preemption_min_run_s: float = Field(default=120.0, ge=0.0)
    """Seconds that a run is left alone before a job of higher priority may take its devices."""
    openai_models: dict[str, str] = Field(default_factory=dict)
    """Base models that jobs of the OpenAI-compatible API train instead of models such as `gpt-4o-mini-2024-07-18`."""
    inference_backend: Literal["auto", "own", "vllm"] = "auto"
    """What answers in chats: `own` is the service's own engine, `vllm` is vLLM, which `ftlab inference install`
    installs and which needs a CUDA GPU; `auto` is vLLM where it can be used, else `own`.
    """
    judges: dict[str, JudgeServer] = Field(default_factory=dict)
    """Models that evaluations may ask to rate answers: a name, and where the model is. Their users choose the name, and
    never an address.
    """
    chat_idle_s: int = Field(default=300, ge=1, le=86_400)
    """Seconds without a request after which an engine, the process that answers for a model, ends."""
    chat_priority: int = Field(default=50, ge=0, le=100)
    """Priority of engines in the queue. A job of a higher priority takes the devices of an engine."""
    chat_wait_s: float = Field(default=60.0, ge=1.0, le=600.0)
    """Seconds that a request waits for its engine to start, before it gets the status 503."""
    chat_max_engines: int = Field(default=4, ge=1)
    """Engines that one owner may have, running and queued."""
    notify_private_hosts: tuple[str, ...] = ()
    """Hosts in private networks to which notification channels may connect, also without TLS; `*` allows all."""
    smtp_url: str | None = None
    """Server that mails notifications: `smtps://host`, or `smtp://host:587` for STARTTLS; `user@host` for a login."""
    smtp_password: str | None = Field(default=None, repr=False)
    """Password for the mail server."""
    smtp_from: str | None = None
    """Sender of the mails; default: `ftlab@` and the name of this machine."""

    gpu_fault_jobs: int = Field(default=3, ge=0)
    """How many different jobs must fail on a GPU, with `gpu_lost`, until it is taken out; 0 for never."""
    gpu_fault_window_s: float = Field(default=86_400.0, gt=0)
    """Seconds within which these jobs failed."""
    llama_quantize: Path | None = None
    """Program `llama-quantize` of llama.cpp, with which exports make K-quants; default: none. Jobs run it."""
    prices: dict[str, Decimal] = Field(default_factory=dict)
    """Price of one device for one hour: `cpu` for a core, `gpu` for a GPU, and the types of GPUs, such as `H100`, whose
    price differs; and `kwh` for a kilowatt-hour of the GPUs' electricity. Without prices, no job has a cost.
    """
    currency: str = Field(default="USD", pattern=r"^[A-Z]{3}$")
    """Currency of the prices, as three letters."""

    @field_validator("smtp_url")
    @classmethod
    def _check_smtp_url(cls, url: str | None) -> str | None:
        """No message repeats the URL: somebody may have put a password into it."""
        if url is None:
            return url
        parts = urlsplit(url)
        if parts.scheme not in ("smtp", "smtps") or not parts.hostname or parts.port == 0:
            raise ValueError("it must look like smtps://mail.example.com or smtp://user@mail.example.com:587")
        if parts.password is not None or parts.path not in ("", "/") or parts.query or parts.fragment:
            raise ValueError("it must hold a host, a port and a user name only; the password has a setting of its own")
        return url

    @field_validator("buckets", "openai_models", "judges", "prices", mode="before")
    @classmethod
    def _read_json(cls, value: object) -> object:
        """A variable holds the table as JSON."""
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            raise ValueError('the variable must hold a JSON object, such as {"name": "value"}') from None

    @field_validator("buckets")
    @classmethod
    def _check_buckets(cls, buckets: dict[str, str]) -> dict[str, str]:
        for name, url in buckets.items():
            if not _BUCKET_NAME.fullmatch(name):
                raise ValueError("a bucket's name has up to 63 characters of a-z, 0-9 and '-'")
            _check_bucket_url(name, url)
        return DEFAULT_BUCKETS | buckets

    @field_validator("openai_models")
    @classmethod
    def _check_openai_models(cls, models: dict[str, str]) -> dict[str, str]:
        for name, model in models.items():
            try:
                parse_model_ref(model)
            except InvalidRequestError as error:
                raise ValueError(f"{error.message.removesuffix('.')}, which that of {name!r} is not") from None
        return models

    @field_validator("judges")
    @classmethod
    def _check_judges(cls, judges: dict[str, JudgeServer]) -> dict[str, JudgeServer]:
        if not all(map(JUDGE_NAME.fullmatch, judges)):
            raise ValueError("a judge's name has up to 63 characters of a-z, 0-9 and '-'")
        return judges

    @field_validator("prices")
    @classmethod
    def _check_prices(cls, prices: dict[str, Decimal]) -> dict[str, Decimal]:
        for device, price in prices.items():
            if not _DEVICE_TYPE.fullmatch(device):
                raise ValueError("the name of a device must be 'cpu', 'gpu', 'kwh' or a type such as 'H100'")
            if not (price.is_finite() and 0 <= price <= MAX_PRICE) or -int(price.as_tuple().exponent) > MAX_DECIMALS:
                raise ValueError(
                    f"the price of {device!r} must be between 0 and {MAX_PRICE}, with up to {MAX_DECIMALS} decimals"
                )
        return prices

    @model_validator(mode="after")
    def _budget_has_prices(self) -> Self:
        if self.quota_monthly_cost is not None and not self.prices:
            raise ValueError("quota_monthly_cost needs prices, without which no job has a cost")
        return self

    @field_validator("home", "lm_eval_tasks")
    @classmethod
    def _absolute(cls, folder: Path | None) -> Path | None:
        try:
            return folder and folder.expanduser().absolute()
        except RuntimeError:
            raise ValueError("it is in the home folder of a user who does not exist") from None

    @property
    def is_loopback(self) -> bool:
        return self.host in LOOPBACK_HOSTS - {"::1"}  # the service does not speak IPv6

    @property
    def own_url(self) -> str:
        """The address of the HTTP API for processes of this machine."""
        return f"http://{'127.0.0.1' if self.host == ANY_ADDRESS else self.host}:{self.port}"

    @property
    def server_url(self) -> str:
        return (self.server or self.own_url).rstrip("/")

    @property
    def store_url(self) -> str:
        return self.database_url or f"sqlite:///{self.home / 'ftlab.db'}"

    @property
    def mlflow_url(self) -> str:
        return f"http://127.0.0.1:{self.mlflow_port}"

    def mlflow_page(self, path: str) -> str:
        """The address of a page of MLflow's UI, in its mode for model training; it opens in the one for LLM traces."""
        return f"{self.mlflow_url}/#/{path}?workflowType=machine_learning"

    def mlflow_run_page(self, experiment_id: str | None, run_id: str | None) -> str | None:
        """The address of the page of a run in MLflow; `None` until it is recorded."""
        return self.mlflow_page(f"experiments/{experiment_id}/runs/{run_id}") if experiment_id and run_id else None

    @property
    def dashboard_url(self) -> str:
        return f"http://127.0.0.1:{self.dashboard_port}"

    @property
    def allowed_model_roots(self) -> tuple[Path, ...]:
        return (self.home / "models", *self.model_roots)

    @property
    def inference_folder(self) -> Path:
        """The folder of the environments that answer in chats beside the service's own engine."""
        return self.home / "inference"

    def service_environment(self) -> dict[str, str]:
        """The environment of the service's processes: that of this one with the same settings, and no client's key."""
        of_clients = {f"FTLAB_{name.upper()}" for name in OF_CLIENTS}
        inherited = {name: value for name, value in os.environ.items() if name not in of_clients}
        return inherited | self.to_environment()

    def to_environment(self) -> dict[str, str]:
        """The variables that give a child process the same settings."""
        values = self.model_dump(mode="json", exclude_none=True, exclude=set(OF_CLIENTS))
        return {f"FTLAB_{name.upper()}": _to_text(value) for name, value in values.items()}


def load_settings(
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
    *,
    with_login: bool = False,
) -> Settings:
    """Read all sources and check the result. `with_login` includes what `ftlab login` stored, for clients.

    Raises `InvalidRequestError` that names the source and the setting.
    """
    environ = os.environ if environ is None else environ
    folder = folder or Path.cwd()
    values: dict[str, Any] = {}
    for file in (_config_folder(environ) / "config.toml", folder / "ftlab.toml"):
        values |= _read_file(file)
    values |= _read_environment(environ)
    values |= {name: value for name, value in (flags or {}).items() if value is not None}
    if with_login:
        values = _with_login(values, login_file(environ))
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or "settings"
        colon = ":" if first["type"] == "value_error" else ""
        raise InvalidRequestError(f"Setting {name!r}{colon} {broken_rule(first)}.", "invalid_setting", name) from None


def secret_of(variable: str) -> str | None:
    """The value of an environment variable that a setting names, such as the key of a judge; `None` without one."""
    return os.environ.get(variable, "").strip() or None


def login_file(environ: Mapping[str, str] | None = None) -> Path:
    """Where `ftlab login` stores the address of a service and the key for it."""
    return _config_folder(os.environ if environ is None else environ) / "login.toml"


def _config_folder(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "ftlab"


def _with_login(values: dict[str, Any], file: Path) -> dict[str, Any]:
    """Add the stored service unless another one is named, and the stored key if it is for the service in use."""
    login = _read_file(file)
    if not login:
        return values
    if file.stat().st_mode & 0o077:
        raise InvalidRequestError(
            f"Other users can read {file}, which holds an API key. Run: chmod 600 {file}", "unsafe_login_file"
        )
    server = values.get("server")
    if server is None and not values.keys() & {"host", "port", "home"}:
        server = login["server"]
        values = values | {"server": server}
    if server is None:
        host, port = values.get("host", DEFAULT_HOST), values.get("port", DEFAULT_PORT)
        server = f"http://{'127.0.0.1' if host == ANY_ADDRESS else host}:{port}"
    is_for_it = str(server).rstrip("/") == login["server"]
    return {"api_key": login["api_key"]} | values if is_for_it else values


def _read_file(file: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError:
        raise InvalidRequestError(f"{file} is not a text file in UTF-8.", "invalid_setting") from None
    except tomllib.TOMLDecodeError as error:
        raise InvalidRequestError(f"{file} is not valid TOML: {error}.", "invalid_setting") from None
    for name in values:
        if name not in Settings.model_fields:
            hint = did_you_mean(name, list(Settings.model_fields))
            raise InvalidRequestError(f"{file}: unknown setting {name!r}.{hint}", "invalid_setting", name)
    return values


def _read_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    found = {
        name: environ[f"FTLAB_{name.upper()}"] for name in Settings.model_fields if environ.get(f"FTLAB_{name.upper()}")
    }
    lists = {name: found[name].split(os.pathsep) for name in LISTS if name in found}
    return found | lists


def _to_text(value: object) -> str:
    if isinstance(value, dict):
        return json.dumps(value)
    return os.pathsep.join(map(str, value)) if isinstance(value, list) else str(value)


def _check_bucket_url(name: str, url: str) -> None:
    """Raise `ValueError`, which never repeats the URL: it may hold a secret."""
    if not url:
        return
    parts = urlsplit(url)
    if not parts.scheme or "://" not in url:
        raise ValueError(f"the place of bucket {name!r} must be a URL such as s3://bucket/folder, or empty")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError(
            f"the URL of bucket {name!r} must not contain credentials or options: set them in the environment"
        )
