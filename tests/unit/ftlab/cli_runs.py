"""Running the `ftlab` command in this process."""

import json
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from ftlab.cli.main import main


@dataclass(frozen=True)
class Run:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


class Cli:
    """Calls the entry point as the console script does."""

    def __init__(self, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        monkeypatch.setenv("FTLAB_SERVER", url)
        monkeypatch.setattr("ftlab.cli.main._spare_collector", lambda: None)  # this process runs other tests after it

    def __call__(self, *arguments: object) -> Run:
        self._monkeypatch.setattr(sys, "argv", ["ftlab", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = self._capsys.readouterr()
        code = ended.value.code
        return Run(0 if code is None else int(code), captured.out, captured.err)
