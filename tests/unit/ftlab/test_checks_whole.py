"""The doctor from the client's call to the tokenizer and back: only the way between processes is left out."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.data.requests import CheckRequest, TokensRequest, WorkState
from cluster.data.worker import DataWorker
from ftlab.client import Client
from ftlab.errors import NotFoundError
from ftlab.settings import Settings
from tests.unit.ftlab.cli_runs import Cli
from tests.unit.ftlab.conftest import in_thread
from tests.unit.serve.streams.running import World

GOOD = b'{"messages":[{"role":"user","content":"Where is job %d?"},{"role":"assistant","content":"In the queue."}]}\n'
MUTE = b'{"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Hello","weight":0}]}\n'


class LocalData:
    """A `DataClient` over a worker in this process."""

    def __init__(self, worker: DataWorker) -> None:
        self.worker = worker

    async def check(self, request: CheckRequest) -> WorkState:
        return self.worker.check(request)

    async def tokens(self, request: TokensRequest) -> list[dict[str, Any]]:
        return self.worker.tokens(request)

    async def template_problems(self, request: TokensRequest) -> dict[int, str]:
        return self.worker.template_problems(request)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    from tests.support.tiny_models import make_tiny_model

    home = tmp_path / "home"
    make_tiny_model(home / "models" / "org--tiny")
    worker = DataWorker(Settings(home=home))
    with in_thread(home, data=LocalData(worker)) as world:
        yield world
    worker.close()


@pytest.fixture
def address(world: World) -> str:
    return world.url("")


def upload(client: Client, folder: Path, content: bytes) -> str:
    file = folder / "rows.jsonl"
    file.write_bytes(content)
    return client.datasets.upload(file).id


def test_a_dataset_is_checked_and_a_row_is_shown(client, world, tmp_path, monkeypatch, capsys):
    rows = [GOOD % number for number in range(5)]
    dataset = upload(client, tmp_path, b"".join([*rows, rows[2], MUTE]))
    held_out = upload(client, tmp_path, rows[0])
    report = client.datasets.check(dataset, "org/tiny", eval_dataset=held_out, max_length=64)
    assert (report.dataset_id, report.model, report.num_rows) == (dataset, "org/tiny", 7)
    assert {rule: report.counts.get(rule) for rule in ("exact_duplicate", "untrained_row", "eval_overlap")} == {
        "exact_duplicate": 1,
        "untrained_row": 1,
        "eval_overlap": 1,
    }
    assert [(f.row, f.line) for f in report.findings if f.rule == "exact_duplicate"] == [(6, 6)]
    (row,) = client.datasets.tokens(dataset, "org/tiny", 3)
    assert "".join(token.text for token in row.tokens if token.is_trained) == "In the queue.<|im_end|>\n"
    with pytest.raises(NotFoundError, match="no row 8"):
        client.datasets.tokens(dataset, "org/tiny", 8)

    cli = Cli(world.url(""), monkeypatch, capsys)
    run = cli("datasets", "check", dataset, "--model", "org/tiny")
    assert (run.code, "exact_duplicate" in run.out) == (0, True)
    assert "In the queue" not in run.out, "findings quote no row"
    mute = upload(client, tmp_path, MUTE * 3)
    run = cli("datasets", "check", mute, "--model", "org/tiny")
    assert (run.code, "nothing_to_learn" in run.out) == (1, True)


def test_a_preview_shows_what_the_template_of_a_model_leaves_out(world, client, tmp_path, monkeypatch, capsys):
    from tests.support.tiny_models import make_tiny_model

    folder = make_tiny_model(tmp_path / "home" / "models" / "org--deaf")
    template = folder / "chat_template.jinja"
    template.write_text(
        "{% for m in messages if m.role != 'system' %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    told = GOOD.replace(b'"messages":[', b'"messages":[{"role":"system","content":"Be kind."},') % 2
    dataset = upload(client, tmp_path, GOOD % 1 + b"\n" + told)
    cli = Cli(world.url(""), monkeypatch, capsys)
    shown = client.datasets.preview(dataset, model="org/deaf")
    assert [(row.line, row.template_problem) for row in shown.rows] == [
        (1, None),
        (3, "The chat template leaves out message 1 (system), or writes it differently."),
    ]
    lines = cli("datasets", "preview", dataset, "--model", "org/deaf").lines
    assert [line for line in lines if "template" in line] == [f"  template: {shown.rows[1].template_problem}"]
    assert not any("template:" in line for line in cli("datasets", "preview", dataset).lines)
    assert cli("datasets", "preview", dataset, "--model", "job:nothing-here").code != 0
