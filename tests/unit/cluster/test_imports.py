"""The coordinator starts without the packages that training needs."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import ray

from cluster.machine.lean_ray import DEFERRED, FOR_PROXIES, FOR_PYARROW, FOR_REPLIES, TABLES

HEAVY = ("torch", "transformers", "trl", "peft", "mlflow", "datasets", "bitsandbytes")


COORDINATOR = "cluster.coordinator.coordinator, cluster.coordinator.actor"


def test_the_coordinator_imports_nothing_heavy():
    """Nor does the driver of a run."""
    code = f"import sys, {COORDINATOR}, cluster.runs.driver; print([name for name in {HEAVY!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def loaded_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_ray_does_without_pandas_pyarrow_and_numpy():
    """In each of its processes, they take up to half a second and 13 to 65 MB."""
    lean = """
import cluster.machine.lean_ray, ray.serve, ray.serve._private.controller
from ray.serve._private.utils import ensure_serialization_context
ensure_serialization_context()
"""
    use_late = (
        "from ray.serve._private import autoscaling_metrics_codec as codec\nassert codec.np.float64(2.5).sum() == 2.5"
    )
    unused = "assert not sys.modules.keys() & {'pandas', 'pyarrow', 'numpy'}"
    assert {"numpy", "pandas"} <= loaded_after(f"{lean}\n{unused}\n{use_late}\nimport pandas")


def test_waiting_processes_have_no_arrays():
    """They import NumPy and PyArrow for the first dataset that they read. What all of them import, none has."""
    modules = f"{COORDINATOR}, cluster.data.worker, serve.deployment, serve.app"
    assert not loaded_after(f"import cluster.machine.lean_ray, {modules}") & {"numpy", "pyarrow", "pandas"}


LEAN_TRAIN = """
import cluster.machine.lean_ray
from pathlib import Path
import cluster.runs.trainer as runs
import ray.train.v2._internal.execution.checkpoint.sync_actor, ray.train.v2._internal.execution.controller.controller
import cluster.runs.fixed_size, cluster.runs.worker
trainer = runs.make_trainer("run-1", driver="run-1", shape=None, plan=None, storage=Path("runs"))
trainer._create_default_callbacks()
"""
"""What the processes of a run import before the modules of the job."""


def test_ray_train_does_without_ray_data():
    """It takes a second in each of the four processes of a run, and PyTorch two in the first."""
    loaded = loaded_after(LEAN_TRAIN)
    assert "pyarrow" in loaded
    assert not loaded & {"pandas", "ray.data", "ray.data.context", "torch", "ray.train.torch"}


def test_the_modules_of_ray_whose_imports_wait_are_there():
    """Where one has another name, its imports do not wait, and a run starts more slowly."""
    deferred = {name for names in DEFERRED.values() for name in names} - {"pandas", "numpy"}
    of_ray = {*DEFERRED, *deferred, FOR_REPLIES, FOR_PYARROW}
    folder = Path(ray.__file__).parents[1]
    files = {name: folder / name.replace(".", "/") for name in of_ray}
    missing = [name for name, file in files.items() if not file.is_dir() and not file.with_suffix(".py").exists()]
    missing += [] if hasattr(import_module(FOR_PYARROW), TABLES) else [TABLES]
    assert missing == []


def test_the_head_of_ray_has_no_serve_and_no_server_for_clients():
    loaded = loaded_after("from cluster.machine import ray_head\nassert ray_head.Node.start_ray_client_server")
    assert "ray.scripts.scripts" in loaded
    assert not loaded & {"ray.serve", "pandas", "pyarrow"}


def test_the_dashboard_of_ray_has_the_modules_that_are_used():
    """With an unknown module, the dashboard does not start."""
    code = """
from cluster.machine import ray_head
from ray.dashboard.subprocesses.module import SubprocessModule
from ray.dashboard.utils import DashboardHeadModule, get_all_modules
known = {each.__name__ for kind in (SubprocessModule, DashboardHeadModule) for each in get_all_modules(kind)}
assert known - {*ray_head.DASHBOARD_MODULES} == {"DataHead", "TrainHead", "MetricsHead"}, known
assert known > {*ray_head.DASHBOARD_MODULES}, known
started = []
ray_head._start_ray_process = lambda command, *rest, **options: started.append((command, rest, options))
ray_head._start_with_fewer_modules(["python", "ray/dashboard/dashboard.py"], "dashboard", fate_share=True)
ray_head._start_with_fewer_modules(["raylet"], "raylet", True)
ray_head.os.environ["RAY_GRAFANA_HOST"] = "http://127.0.0.1:3000"
ray_head._start_with_fewer_modules(["python", "dashboard.py"], "dashboard", fate_share=True)
[command, rest, options], raylet, [with_charts, *_] = started
assert command[:3] == ["python", "-m", "cluster.machine.ray_dashboard"]
assert (rest, options) == (("dashboard",), {"fate_share": True})
assert raylet == (["raylet"], ("raylet", True), {})
assert {*command[-1].removeprefix("--modules-to-load=").split(",")} == {*ray_head.DASHBOARD_MODULES}
assert with_charts[-1] == command[-1] + ",MetricsHead"
"""
    assert "ray.dashboard.modules.job.job_head" in loaded_after(code)


def test_the_mlflow_server_has_no_tables_until_it_uses_them():
    code = """
import tracking.mlflow_record.server_process, mlflow.data.pandas_dataset as user
assert not sys.modules.keys() & {'pandas', 'pyarrow', 'scipy'}
assert user.pd.DataFrame({'x': [1, 2]}).sum().x == 3
"""
    assert {"mlflow.server.fastapi_app", "pandas"} <= loaded_after(code)


def test_the_recorder_has_no_tables():
    loaded = loaded_after("import tracking.mlflow_record.api")
    assert "mlflow" in loaded
    assert not loaded & {"numpy", "pandas", "pyarrow", "scipy"}


def test_serve_starts_no_proxy_beside_haproxy():
    code = """
import cluster.machine.lean_ray as lean
from ray.serve._private.proxy_state import ProxyStateManager as Proxies
manager = object.__new__(Proxies)
manager._head_node_id, manager._running_native_proxies, manager._fallback_proxy_state = "head", True, None
manager._proxy_states = {"head": None}
manager._start_proxies_if_needed([("head", "127.0.0.1", "")])
assert manager._fallback_proxy_state is None
"""
    assert FOR_PROXIES in loaded_after(code)


def test_the_raylet_does_not_wait_for_the_dashboard():
    code = """
from cluster.machine import ray_head
order = []
class Node:
    def __init__(self, params, head=False):
        self.start_api_server(include_dashboard=None, raise_on_failure=False)
        order.append(("raylet", params, head))
    def start_api_server(self, *, include_dashboard, raise_on_failure):
        order.append(("dashboard", include_dashboard, raise_on_failure))
assert "start_api_server" in vars(ray_head.Node)
ray_head.Node = Node
ray_head._start_dashboard_last()
Node("params", head=True)
assert order == [("raylet", "params", True), ("dashboard", None, False)], order
"""
    assert "ray._private.node" in loaded_after(code)


def test_the_raylet_finds_the_port_of_its_agent(tmp_path: Path):
    """It dies when the file is not there after 15 s."""
    code = f"""
from types import SimpleNamespace
from cluster.machine import ray_head
from ray._raylet import DASHBOARD_AGENT_LISTEN_PORT_NAME as name, wait_for_persisted_port
assert "start_raylet" in vars(ray_head.Node)
class Node:
    _session_dir, _node_id = {str(tmp_path)!r}, "ab" * 28
    _ray_params = SimpleNamespace(dashboard_agent_listen_port=21000)
    def start_raylet(self, *arguments):
        assert arguments == ("plasma",)
        print(wait_for_persisted_port(self._session_dir, self._node_id, name, 1, 1))
ray_head.Node = Node
ray_head._start_raylet_before_agents()
Node().start_raylet("plasma")
"""
    assert "21000" in loaded_after(code)
