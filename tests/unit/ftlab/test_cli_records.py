"""`ftlab datasets`, `models`, `config` and `status`."""

import gzip
import json
import re

import pytest

from tests.unit.ftlab.fake_service import ZIP, status_fault


@pytest.fixture
def rows(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text("{}\n{}\n")
    return file


def test_datasets_from_upload_to_removal(cli, fake, rows, tmp_path):
    assert cli("datasets", "upload", rows, "--name", "the rows").out == "ds-1\n"
    assert cli("datasets", "upload", rows, "--json").json["name"] == "rows.jsonl"
    assert cli("datasets", "ls").lines[2].split("\t")[:5] == ["ds-1", "the rows", "training-files", "messages", "2"]
    assert cli("datasets", "ls", "--json", "-n", 1).json[0]["id"] == "ds-2"
    assert re.search(r"^Rows +2$", cli("datasets", "show", "the rows").out, re.MULTILINE)
    assert cli("datasets", "download", "the rows").out == "ds-1.jsonl\n"
    assert (tmp_path / "ds-1.jsonl").read_bytes() == ZIP
    assert cli("datasets", "rm", "ds-1").code == 2
    assert cli("datasets", "rm", "ds-1", "--yes").err == "Deleted ds-1.\n"
    assert list(fake.datasets) == ["ds-2"]


def test_a_dataset_moves_and_gets_a_url(cli, rows):
    cli("datasets", "upload", rows)
    run = cli("datasets", "mv", "rows.jsonl", "lora-datasets")
    assert (run.code, run.out, run.err) == (0, "", "Moved ds-1 to bucket lora-datasets.\n")
    assert cli("datasets", "mv", "ds-1", "training-files", "--json").json["bucket"] == "training-files"
    run = cli("datasets", "url", "ds-1")
    assert run.out.endswith("/api/downloads/signed\n")
    assert run.err.startswith("Valid until ")
    first, later = (cli("datasets", "url", "ds-1", "--json", "--expires-s", time).json for time in (60, 120))
    assert first["expires_at"] < later["expires_at"]
    assert cli("datasets", "url", "ds-1", "--expires-s", 0).code == 2


def test_a_compressed_dataset_comes_back_under_a_name_that_says_so(cli, tmp_path):
    packed = tmp_path / "rows.jsonl.gz"
    packed.write_bytes(gzip.compress(b"1\n2\n"))
    cli("datasets", "upload", packed, "--name", "the rows")
    assert cli("datasets", "download", "the rows").out == "ds-1.jsonl.gz\n"


def test_columns_are_given_one_by_one(cli, fake, rows):
    columns = ("--column", "prompt=q", "--column", "completion=a=b")
    run = cli("datasets", "upload", rows, "--shape", "prompt_completion", *columns, "--accept-partial")
    assert "(2 rows, 1 skipped, 6 B)" in run.err
    assert run.err.endswith("\n  skipped: line 3: The row is empty. [empty_row]\n")
    said = fake.datasets["ds-1"]["column_mapping"]
    assert json.loads(said["columns"]) == {"prompt": "q", "completion": "a=b"}
    assert said["shape"] == "prompt_completion"
    for wrong in ("prompt", "=q", "prompt="):
        run = cli("datasets", "upload", rows, "--column", wrong)
        assert (run.code, "FIELD=COLUMN" in run.err) == (2, True)


def test_datasets_that_do_not_fit(cli, rows):
    cli("datasets", "upload", rows)
    cli("datasets", "upload", rows)
    assert cli("datasets", "show", "nothing").code == 3
    run = cli("datasets", "show", "rows.jsonl")
    assert run.code == 1
    assert "matches several datasets: ds-2, ds-1" in run.err
    assert cli("datasets", "show", "ds-").code == 1
    assert cli("datasets", "upload", "none.jsonl").code == 2


def test_models(cli):
    assert cli("models", "ls").lines[1].split("\t")[:4] == ["mdl-1", "my model", "adapter", "org/base"]
    assert cli("models", "show", "my model", "--json").json["id"] == "mdl-1"
    assert "Base model  org/base" in cli("models", "show", "mdl").out
    assert cli("models", "show", "other").code == 3


def test_config_hides_secrets(cli, monkeypatch):
    monkeypatch.setenv("FTLAB_API_KEY", "ftl_canary")
    monkeypatch.setenv("FTLAB_DATABASE_URL", "postgresql://me:canary@db/ftlab")
    monkeypatch.setenv("FTLAB_SMTP_PASSWORD", "canary")
    for run in (cli("config"), cli("config", "--json")):
        assert run.code == 0
        assert "canary" not in run.out + run.err
    assert cli("config", "--json").json["database_url"] == "postgresql://me:********@db/ftlab"
    assert cli("config", "--home", "/data", "--json").json["home"] == "/data"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:can/ary@db/ftlab", "postgresql://me:********@db/ftlab"),
        ("postgresql://me:can#ary@db/ftlab", "postgresql://me:********@db/ftlab"),
        ("postgresql+psycopg://me:can?a=ary@db:5432/ftlab", "postgresql+psycopg://me:********@db:5432/ftlab"),
        ("postgresql://me:can@ary@db/ftlab?options=a@b", "postgresql://me:********@db/ftlab?options=a@b"),
        ("postgresql://db/ftlab?user=me&password=can@ary&x=1", "postgresql://db/ftlab?user=me&password=********&x=1"),
        ("postgresql://db/ftlab?sslpassword=canary", "postgresql://db/ftlab?sslpassword=********"),
        ("postgresql://me@db:5432/ftlab", "postgresql://me@db:5432/ftlab"),
        ("sqlite:////data/a:b@c/ftlab.db", "sqlite:////data/a:b@c/ftlab.db"),
    ],
)
def test_config_hides_every_password_that_a_database_url_can_hold(cli, monkeypatch, url, shown):
    monkeypatch.setenv("FTLAB_DATABASE_URL", url)
    assert cli("config", "--json").json["database_url"] == shown


@pytest.mark.parametrize(
    "server", ["http://[::1", "http://host:abc", "http://host:99999", "http://a..b", "http://a\tb"]
)
def test_an_address_that_cannot_be_is_a_usage_error(cli, server):
    run = cli("ls", "--server", server)
    assert run.code == 2
    assert "The service's address must look like" in run.err


def test_a_wrong_setting_is_a_usage_error(cli, monkeypatch):
    monkeypatch.setenv("FTLAB_PORT", "99999")
    run = cli("config")
    assert run.code == 2
    assert "'port'" in run.err


def test_status(cli, fake):
    fake.add_job(1)
    fake.add_job()
    run = cli("status")
    assert run.code == 0
    assert re.search(rf"^Server +{re.escape(fake.url)}: ready$", run.out, re.MULTILINE)
    assert "1 running, 1 queued. The queue waits for a free core." in run.out
    assert cli("status", "--json").json["status"] == "ready"


def test_status_gives_the_addresses_that_the_service_knows(cli, fake, tmp_path, monkeypatch):
    """In a folder without a service, where nothing is known but the address of the API."""
    monkeypatch.chdir(tmp_path)
    run = cli("status")
    assert "MLflow           http://127.0.0.1:5000/#/experiments" in run.lines
    assert "Ray dashboard    http://127.0.0.1:8265" in run.lines
    assert "Dashboard token  in the file /srv/lab/ray_token" in run.lines
    assert cli("status", "--json").json["info"]["dashboard_url"] == "http://127.0.0.1:8265"

    fake.info["dashboard_token_file"] = None
    run = cli("status")
    assert "Ray dashboard  http://127.0.0.1:8265 (on the machine of the service)" in run.lines
    assert "token" not in run.out


def test_config_does_not_pretend_that_the_home_folder_exists(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FTLAB_HOME", raising=False)
    line = next(line for line in cli("config").lines if line.startswith("home "))
    assert line.endswith(f"{tmp_path / '.ftlab'} (does not exist; 'ftlab up' creates it)")
    (tmp_path / ".ftlab").mkdir()
    line = next(line for line in cli("config").lines if line.startswith("home "))
    assert line.endswith(str(tmp_path / ".ftlab"))


def test_status_of_nothing(cli, unanswered):
    assert cli("status", "--server", unanswered).code == 8


def test_status_outlives_no_wrong_service(cli, fake):
    fake.faults = [status_fault(404)] * 2
    assert cli("status", "--server", fake.url).code in (0, 8)
