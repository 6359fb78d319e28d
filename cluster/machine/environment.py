"""The environment in which Ray, Serve and their workers run."""

import os
import secrets
import stat
import sys
from pathlib import Path

from ftlab.errors import InvalidRequestError
from ftlab.settings import Settings

PREEMPTION_WATCHER = "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"
"""`1` where Ray Train notifies runs that one of their machines is about to be shut down."""
RAY_METRICS = "RAY_enable_metrics_collection"
"""`1` where Prometheus fetches Ray's own metrics: where nobody does, they grow with each process that ever ran."""
RAY_DEFAULTS = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    # How long the raylet tries to reach its agents, which it does not wait for; on a busy machine they start slowly.
    "RAY_agent_register_timeout_ms": "120000",
    # Ray runs its workers at niceness 15, and to Ray the API's replicas are workers too. Training makes itself nicer.
    "RAY_worker_niceness": "0",
    # `ray.train.report` is served once per poll (2 s by default), and a crashed worker is seen by the next one.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.25",
    "RAY_TRAIN_COLLECTIVE_TIMEOUT_S": "600",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "30",
    # Ten looks a second at two replicas that hardly ever change cost training 3 % of a core.
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "1",
    # Each replica adds its counts to the metrics that Ray exports; by default ten times a second.
    "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "10000",
    # A dead Serve proxy is replaced after seconds instead of half a minute.
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "5",
    # The proxy starts beside the replicas; after 5 s, three times, a busy machine would have to start it again.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "30",
    # A replica keeps running for this many seconds after it is told to stop, so stopping the service takes at least as
    # long. The HTTP proxy sends it no more requests after one second.
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
    # Our routes never block the event loop. Without a loop of their own a request saves two changes of thread, and a
    # client that reads slowly is felt where its archive is read, instead of in a queue without bounds.
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    # What the dashboard shows may be a few seconds old: its agent looks for events ten times a second by default.
    "EVENT_AGENT_REPORT_INTERVAL_SECONDS": "2",
    "SCAN_EVENT_DIR_INTERVAL_SECONDS": "30",
    "REPORTER_UPDATE_INTERVAL_MS": "15000",
    "METRICS_RECORD_INTERVAL_S": "15",
    # How often each process of Ray sends its metrics to the agent, where they are exported.
    "RAY_metrics_report_interval_ms": "30000",
    # What Ray remembers of processes, actors and calls that have ended; by default 100,000 of each.
    "RAY_maximum_gcs_destroyed_actor_cached_count": "50",
    "RAY_maximum_gcs_dead_worker_cached_count": "50",
    "RAY_task_events_max_num_task_in_gcs": "500",
    # Ray times each of its own events, a hundred per second and process, for a summary in its log that nobody reads.
    "RAY_event_stats": "0",
    # How often Ray checks for idle workers, a full disk, a full object store, pulls that have to be repeated, the load
    # that an autoscaler needs, and slow event loops.
    "RAY_kill_idle_workers_interval_ms": "1000",
    "RAY_local_fs_monitor_interval_ms": "1000",
    "RAY_raylet_check_gc_period_milliseconds": "1000",
    "RAY_object_manager_timer_freq_ms": "1000",
    "RAY_gcs_pull_resource_loads_period_milliseconds": "10000",
    "RAY_io_context_monitor_probe_interval_ms": "10000",
    # Workers do without pandas and PyArrow until they use them, and end without the part of an exit that can hang.
    "RAY_preload_python_modules": "cluster.machine.lean_ray,cluster.machine.worker_exit",
    # Looking for plugins of pydantic reads the metadata of every installed package, in every process.
    "PYDANTIC_DISABLE_PLUGINS": "__all__",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


def token_file(settings: Settings) -> Path:
    return settings.home / "ray_token"


def ensure_token(settings: Settings) -> None:
    """Make the Ray token, readable by its owner only; refuse one that others can read."""
    file = token_file(settings)
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(secrets.token_hex(32))
    if stat.S_IMODE(file.stat().st_mode) & 0o077:
        raise InvalidRequestError(
            f"Other users can read {file}, whose content lets them run code here. Run: chmod 600 {file}",
            "unsafe_token_file",
        )


def ray_environment(settings: Settings) -> dict[str, str]:
    """Variables for every process that starts or joins the Ray cluster of these settings."""
    return {
        **settings.service_environment(),
        **RAY_DEFAULTS,
        # One machine is not drained, and the watcher would be one more process per run: where machines come and go,
        # the environment of the service switches it on.
        PREEMPTION_WATCHER: os.environ.get(PREEMPTION_WATCHER, "0"),
        RAY_METRICS: os.environ.get(RAY_METRICS, "0"),
        "RAY_AUTH_TOKEN_PATH": str(token_file(settings)),
        "RAY_ADDRESS": f"127.0.0.1:{settings.ray_port}",
        "RAY_API_SERVER_ADDRESS": settings.dashboard_url,
        "MLFLOW_TRACKING_URI": settings.mlflow_url,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONUNBUFFERED": "1",
        **_hub_cache(settings),
    }


def _hub_cache(settings: Settings) -> dict[str, str]:
    """Models of the hub are kept with the other data, unless the environment sets another folder."""
    if os.environ.get("HF_HUB_CACHE") or os.environ.get("HF_HOME"):
        return {}
    return {"HF_HUB_CACHE": str(settings.home / "cache" / "hub")}
