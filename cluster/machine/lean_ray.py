"""Ray without pandas, PyArrow and NumPy, which cost each process that imports them up to half a second and 13 to 65 MB.

Ray Serve imports pandas and NumPy to recognise their values in replies, and NumPy to choose the number of replicas; Ray
imports PyArrow to pass tables between processes. Nothing here does any of this. Ray's workers import this module when
they start (`RAY_preload_python_modules`), and the launcher with the package `serve`. What a process imports itself
stays as it is.
"""

import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

from ftlab.hidden_packages import hidden, late

FOR_REPLIES = "ray.serve._private.utils"
FOR_SCALING = tuple(
    f"ray.serve._private.{module}"
    for module in ("autoscaling_metrics_codec", "autoscaling_metrics_merge", "autoscaling_state")
)
FOR_PYARROW = "ray._private.arrow_serialization"


def _without_arrays(loader: Loader, module: ModuleType) -> None:
    with hidden("pandas", "numpy"):
        loader.exec_module(module)


def _with_late_arrays(loader: Loader, module: ModuleType) -> None:
    with late("numpy"):
        loader.exec_module(module)


def _without_tables(loader: Loader, module: ModuleType) -> None:
    loader.exec_module(module)
    _pass_no_tables(module)


def _pass_no_tables(module: ModuleType) -> None:
    # With another name in a later Ray, PyArrow is imported, and nothing else changes.
    vars(module)["_register_custom_datasets_serializers"] = lambda context: None


_LEAN: dict[str, Callable[[Loader, ModuleType], None]] = {
    FOR_REPLIES: _without_arrays,
    **dict.fromkeys(FOR_SCALING, _with_late_arrays),
    FOR_PYARROW: _without_tables,
}
"""How each of these modules is executed."""


class _Finder(MetaPathFinder):
    """Finds the modules of Ray that import the packages."""

    def __init__(self) -> None:
        self._is_looking = False

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in _LEAN or self._is_looking:
            return None
        self._is_looking = True
        try:
            spec = find_spec(name)
        finally:
            self._is_looking = False
        if spec is not None and spec.loader is not None:
            spec.loader = _LeanLoader(spec.loader)
        return spec


class _LeanLoader(Loader):
    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        _LEAN[module.__name__](self._loader, module)


sys.meta_path.insert(0, _Finder())
if FOR_PYARROW in sys.modules:
    _pass_no_tables(sys.modules[FOR_PYARROW])
