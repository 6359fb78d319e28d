"""The doctor in the SDK and on the command line."""

import asyncio

import pytest

from ftlab.client import AsyncClient
from ftlab.errors import WaitTimeoutError
from tests.unit.ftlab.check_documents import EVIL
from tests.unit.ftlab.conftest import QUICK
from tests.unit.ftlab.fake_service import status_fault

SOUND = {"counts": {"no_generation_marks": 1}, "findings": [], "num_findings": 1}


@pytest.fixture
def no_waiting(monkeypatch):
    for flavour in ("_sync", "_async"):
        monkeypatch.setattr(f"ftlab.client.{flavour}.datasets.CHECK_PAUSES_S", (0.01, 0.01))


@pytest.fixture
def uploaded(cli, tmp_path) -> str:
    (tmp_path / "rows.jsonl").write_text("{}\n{}\n")
    return cli("datasets", "upload", tmp_path / "rows.jsonl").out.strip()


@pytest.mark.usefixtures("no_waiting")
def test_the_client_waits_for_the_report_and_tells_how_far_it_is(client, fake):
    fake.check_states = [(0, 0), (4, 10), (9, 10)]
    told = []
    report = client.datasets.check(
        "ds-1",
        "org/base",
        max_length=256,
        assistant_only_loss=False,
        eval_dataset="ds-2",
        rewards=["exact_match", "length"],
        max_findings=5,
        on_progress=lambda done, total: told.append((done, total)),
    )
    assert (report.num_rows, report.has_errors, report.findings[1].row) == (10, True, 2)
    assert told == [(0, None), (4, 10), (9, 10)]
    assert (
        fake.check_params
        == [
            {
                "model": "org/base",
                "max_length": "256",
                "assistant_only_loss": "false",
                "eval_dataset": "ds-2",
                "rewards": "exact_match,length",
                "max_findings": "5",
            }
        ]
        * 4
    )


@pytest.mark.usefixtures("no_waiting")
def test_a_check_outlives_a_proxy_that_is_away(client, fake):
    fake.faults = [status_fault(502), None, status_fault(503)]
    fake.check_states = [(1, 2)]
    assert client.datasets.check("ds-1", "org/base").num_rows == 10


@pytest.mark.usefixtures("no_waiting")
def test_waiting_for_a_check_may_end_early(client, fake):
    fake.check_states = [(1, 2)] * 10_000
    with pytest.raises(WaitTimeoutError, match="is still running"):
        client.datasets.check("ds-1", "org/base", timeout_s=0.2)


def test_the_async_client_has_the_same(fake):
    async def ask():
        async with AsyncClient(fake.url, retry=QUICK) as client:
            report = await client.datasets.check("ds-1", "org/base")
            return report, await client.datasets.tokens("ds-1", "org/base", 2)

    report, (row,) = asyncio.run(ask())
    assert (report.dataset_id, row.line) == ("ds-1", 3)


def test_tokens(client, fake):
    (row,) = client.datasets.tokens("ds-1", "org/base", 2, max_length=64, packing=True)
    assert [token.is_trained for token in row.tokens] == [False, False, True, True, False, False]
    assert fake.check_params == [{"model": "org/base", "row": "2", "max_length": "64", "packing": "true"}]


def test_a_hard_stop_is_an_exit_code(cli, fake, uploaded):
    run = cli("datasets", "check", "rows.jsonl", "--model", "org/base", "--eval-dataset", uploaded)
    assert run.code == 1
    assert "Cannot train: 1 error." in run.err
    assert "nothing_to_learn" in run.out
    assert "note\tnear_duplicate\t1" in run.lines
    assert "warning\ttruncated_row\t2" in run.lines
    assert "Rows                         10\n" in run.out
    assert "6 more findings are counted but not shown" in run.err
    fake.report = SOUND
    run = cli("datasets", "check", uploaded, "--model", "org/base")
    assert run.code == 0
    assert "OK to train: no errors, no warnings," in run.err


def test_the_report_as_json_and_as_a_page(cli, fake, uploaded, tmp_path):
    page = tmp_path / "report.html"
    run = cli("datasets", "check", uploaded, "--model", "org/base", "--json", "--html", page)
    assert (run.code, run.json["num_rows"]) == (1, 10)
    markup = page.read_text("utf-8")
    assert markup.startswith("<!doctype html>")
    assert EVIL not in markup


def test_options_of_a_check(cli, fake, uploaded):
    options = (
        "--max-length",
        64,
        "--learn-everything",
        "--packing",
        "--max-findings",
        3,
        "--reward",
        "exact_match",
        "--reward",
        "length",
    )
    cli("datasets", "check", uploaded, "--model", "org/base", *options)
    said = {"model": "org/base", "max_length": "64", "assistant_only_loss": "false", "packing": "true"}
    assert fake.check_params == [said | {"max_findings": "3", "rewards": "exact_match,length"}]
    assert cli("datasets", "check", uploaded).code == 2
    assert cli("datasets", "check", "nothing", "--model", "org/base").code == 3


def test_tokens_on_the_command_line(cli, fake, uploaded, tmp_path):
    page = tmp_path / "row.html"
    run = cli("datasets", "tokens", uploaded, "--model", "org/base", "--row", 2, "--html", page)
    assert run.code == 0
    assert run.lines == [
        "7\tspecial\t<|im_start|>",
        f"7\t\t{EVIL}",
        "7\ttrained\tan [2Jswer",
        "7\ttrained\t⏎",
        "7\ttruncated\t☃",
        "7\ttruncated\t▫",
    ]
    assert "6 tokens, 2 trained" in run.err
    assert page.read_text("utf-8").startswith("<!doctype html>")
    assert cli("datasets", "tokens", uploaded, "--model", "org/base", "--row", 2, "--json").json[0]["line"] == 3
    assert cli("datasets", "tokens", uploaded, "--model", "org/base", "--row", 0).code == 2


def test_of_a_long_row_it_is_said_how_many_tokens_are_not_shown(cli, fake, uploaded):
    options = ("datasets", "tokens", uploaded, "--model", "org/base", "--row", 2)
    assert "not shown" not in cli(*options).err
    fake.token_row = {"num_tokens": 468_692, "num_hidden": 468_686}
    run = cli(*options)
    assert "468,692 tokens, 2 trained" in run.err
    assert "468,686 more tokens are counted but not shown." in run.err
    assert cli(*options, "--json").json[0]["num_hidden"] == 468_686


def test_tokens_are_styled_where_people_look():
    from ftlab.cli.checks import _styled
    from ftlab.schemas.checks import TokenRow
    from tests.unit.ftlab.check_documents import TOKEN_ROW

    text = _styled(TokenRow.model_validate(TOKEN_ROW).tokens)
    assert text.plain == f"<|im_start|>{EVIL}an [2Jswer⏎\n☃▫"
    styles = {text.plain[span.start : span.end]: str(span.style) for span in text.spans}
    assert styles == {
        "<|im_start|>": "magenta bold",
        "an [2Jswer": "green underline",
        "⏎\n": "green underline",
        "☃": "bright_black strike",
        "▫": "bright_black strike",
    }
