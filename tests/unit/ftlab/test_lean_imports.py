"""Modules get stand-ins for what they import, which import it when they are used."""

import pickle
import sys
from collections.abc import Iterator
from importlib.abc import Loader
from pathlib import Path
from types import ModuleType

import pytest

from ftlab.lean_imports import Deferred, execute_deferring

IMPORTED = ("stored_tables", "stored_tables.parts")


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "stored_tables").mkdir()
    (tmp_path / "stored_tables" / "__init__.py").write_text("class Table:\n    def rows(self): return [1]\n")
    (tmp_path / "stored_tables" / "parts.py").write_text("LIMIT = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in IMPORTED:
        sys.modules.pop(name, None)


def run(code: str) -> ModuleType:
    class CodeLoader(Loader):
        def exec_module(self, module: ModuleType) -> None:
            exec(code, vars(module))

    module = ModuleType("of_ray")
    execute_deferring(["stored_tables"], CodeLoader(), module)
    return module


def test_annotations_import_nothing() -> None:
    run(
        "from typing import Callable, Dict, Optional, Union\n"
        "import json, os.path\n"
        "import stored_tables as tables\n"
        "from stored_tables import Table\n"
        "from stored_tables.parts import LIMIT\n"
        "Given = Dict[str, Union[Table, Callable[[], Table]]]\n"
        "class Report:\n    table: tables.Table | None = None\n    limit: int | tables.Limit = 1\n"
        "def read(table: Table, again: Optional[Table] = None) -> Given:\n    return tables.Table()\n"
        "assert json.loads('1') == 1 and os.path.sep"
    )
    assert not sys.modules.keys() & set(IMPORTED)


def test_a_use_imports() -> None:
    module = run(
        "import stored_tables as tables\n"
        "import stored_tables.parts\n"
        "from stored_tables import Table\n"
        "class Own(Table): pass\n"
        "def read():\n    return tables.Table().rows(), Own().rows(), stored_tables.parts.LIMIT\n"
        "def knows(it):\n    return isinstance(it, Table), issubclass(Own, Table)"
    )
    assert "stored_tables" in sys.modules
    assert module.read() == ([1], [1], 3)
    assert module.knows(module.Own()) == (True, True)
    assert module.knows(1) == (False, True)


def test_a_stand_in_can_be_sent() -> None:
    sent: Deferred = pickle.loads(pickle.dumps(run("from stored_tables import Table").Table))
    assert "stored_tables" not in sys.modules
    assert sent().rows() == [1]


def test_what_is_missing_is_named() -> None:
    module = run("from stored_tables import Shelf")
    with pytest.raises(AttributeError, match="Shelf"):
        module.Shelf()
