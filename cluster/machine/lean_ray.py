"""Ray without pandas, PyArrow, NumPy and Ray Data, which cost a process up to a second each, and Serve with one proxy.

The first three also take 13 to 65 MB each. Ray Serve imports pandas and NumPy to recognise their values in replies, and
NumPy to choose the number of replicas; Ray imports PyArrow to pass tables between processes. Ray Train imports Ray
Data, which imports them all, for datasets, and PyTorch to choose the backend of a trainer. Nothing here needs them for
that. Beside HAProxy, Ray Serve starts a proxy of its own for applications that may have no replica; ours always has
one, and while it restarts, HAProxy replies by itself.

Ray's workers import this module when they start (`RAY_preload_python_modules`), and the launcher with the package
`serve`. What a process imports itself stays as it is.
"""

import sys
from functools import partial
from importlib.abc import Loader
from types import ModuleType

from ftlab.lean_imports import Execution, execute_deferring, execute_hiding, hook_imports

FOR_REPLIES = "ray.serve._private.utils"
FOR_SCALING = tuple(
    f"ray.serve._private.{module}"
    for module in ("autoscaling_metrics_codec", "autoscaling_metrics_merge", "autoscaling_state")
)
FOR_PYARROW = "ray._private.arrow_serialization"
FOR_PROXIES = "ray.serve._private.proxy_state"
FALLBACK_PROXY = "_start_fallback_proxy_if_needed"
TABLES = "_register_custom_datasets_serializers"
NO_DATA = ("pandas", "ray.data")
DEFERRED = {
    **dict.fromkeys(FOR_SCALING, ("numpy",)),
    "ray.air": NO_DATA,
    "ray.train": NO_DATA,
    # Ray does not track the state of our runs, and the module for it names `ray.data` in an annotation.
    "ray.train.v2._internal.callbacks.state_manager": (*NO_DATA, "ray.train.v2._internal.state.state_manager"),
    # The driver makes the trainer, and only the workers need PyTorch.
    "ray.train.v2.torch": ("ray.train.torch",),
    "ray.train.v2.torch.torch_trainer": ("ray.train.torch", "ray.train.v2._internal.execution.local_mode.torch"),
}
"""What these modules of Ray import only when they use it; and others of the packages `ray.air` and `ray.train`."""


def _without_tables(loader: Loader, module: ModuleType) -> None:
    loader.exec_module(module)
    _pass_no_tables(module)


def _pass_no_tables(module: ModuleType) -> None:
    # With another name in a later Ray, PyArrow is imported, and nothing else changes.
    vars(module)[TABLES] = lambda context: None


def _without_fallback(loader: Loader, module: ModuleType) -> None:
    loader.exec_module(module)
    # With another name in a later Ray, the proxy starts, and nothing else changes.
    setattr(module.ProxyStateManager, FALLBACK_PROXY, lambda *_: None)


_LEAN: dict[str, Execution] = {
    FOR_REPLIES: partial(execute_hiding, ("pandas", "numpy")),
    FOR_PYARROW: _without_tables,
    FOR_PROXIES: _without_fallback,
}
"""How each of these modules is executed."""


def _execution_of(name: str) -> Execution | None:
    """How this module of Ray is executed; `None`: as usual."""
    deferred = DEFERRED.get(name) or (NO_DATA if name.startswith(("ray.air.", "ray.train.")) else None)
    return partial(execute_deferring, deferred) if deferred else _LEAN.get(name)


hook_imports(_execution_of)
if FOR_PYARROW in sys.modules:
    _pass_no_tables(sys.modules[FOR_PYARROW])
