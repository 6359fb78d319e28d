"""Settings: the order of their sources, and what is refused."""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from ftlab.errors import InvalidRequestError
from ftlab.settings import Settings, load_settings


@pytest.fixture
def sources(tmp_path):
    """The same setting in all sources; each test takes the strongest away."""
    user, project = tmp_path / "config" / "ftlab", tmp_path / "project"
    user.mkdir(parents=True)
    project.mkdir()
    (user / "config.toml").write_text("port = 1001\nmlflow_port = 2001\ndashboard_port = 3001\ncpus = 1\n")
    (project / "ftlab.toml").write_text("port = 1002\nmlflow_port = 2002\ndashboard_port = 3002\n")
    environ = {"XDG_CONFIG_HOME": str(tmp_path / "config"), "FTLAB_PORT": "1003", "FTLAB_MLFLOW_PORT": "2003"}
    return environ, project


def test_flag_beats_environment_beats_project_beats_user_beats_default(sources):
    environ, project = sources
    settings = load_settings({"port": 1004}, environ, project)
    assert settings.port == 1004
    assert settings.mlflow_port == 2003
    assert settings.dashboard_port == 3002
    assert settings.cpus == 1
    assert settings.ray_port == 6379


def test_a_flag_that_was_not_given_counts_for_nothing(sources):
    environ, project = sources
    assert load_settings({"port": None}, environ, project).port == 1003


def test_an_empty_variable_counts_for_nothing(tmp_path):
    assert load_settings(environ={"FTLAB_PORT": ""}, folder=tmp_path).port == 8000


def test_unknown_key_names_the_file_and_what_was_meant(tmp_path):
    (tmp_path / "ftlab.toml").write_text("mlflow_prt = 5001\n")
    with pytest.raises(
        InvalidRequestError, match=r"ftlab\.toml: unknown setting 'mlflow_prt'\. Did you mean 'mlflow_port'\?"
    ):
        load_settings(environ={}, folder=tmp_path)


def test_broken_toml_names_the_file(tmp_path):
    (tmp_path / "ftlab.toml").write_text("port = \n")
    with pytest.raises(InvalidRequestError, match=r"ftlab\.toml is not valid TOML"):
        load_settings(environ={}, folder=tmp_path)


def test_a_file_that_is_no_text_is_named(tmp_path):
    (tmp_path / "ftlab.toml").write_bytes(b'api_key = "\xff"\n')
    with pytest.raises(InvalidRequestError, match=r"ftlab\.toml is not a text file in UTF-8"):
        load_settings(environ={}, folder=tmp_path)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("FTLAB_PORT", "0"),
        ("FTLAB_PORT", "x"),
        ("FTLAB_CPUS", "0"),
        ("FTLAB_INGRESS", "nginx"),
        ("FTLAB_HOME", "~nosuchuser/x"),
    ],
)
def test_bad_value_names_the_setting(variable, value, tmp_path):
    with pytest.raises(InvalidRequestError) as caught:
        load_settings(environ={variable: value}, folder=tmp_path)
    assert caught.value.param == variable.removeprefix("FTLAB_").lower()


def test_environment_of_a_child_gives_the_same_settings(tmp_path):
    settings = Settings(
        home=tmp_path,
        port=9000,
        cpus=2,
        standby=False,
        allowed_hosts=("lab.example.org",),
        model_roots=(Path("/models"), Path("/more")),
        reward_files=(Path("/rewards"), Path("/more/rewards.py")),
    )
    assert load_settings(environ=settings.to_environment(), folder=tmp_path) == settings


def test_buckets_come_as_a_table_or_as_json_and_the_default_ones_stay(tmp_path):
    (tmp_path / "ftlab.toml").write_text('[buckets]\nmine = "s3://our-data/lora"\nlora-datasets = "memory://x"\n')
    expected = {"training-files": "", "lora-datasets": "memory://x", "mine": "s3://our-data/lora"}
    settings = load_settings(environ={}, folder=tmp_path)
    assert settings.buckets == expected
    assert load_settings(environ=settings.to_environment()).buckets == expected
    assert Settings().buckets == {"training-files": "", "lora-datasets": ""}


@pytest.mark.parametrize(
    "value",
    [
        "x",
        "[]",
        '{"Mine": ""}',
        '{"a/b": ""}',
        '{"a": 1}',
        '{"a": "/folder"}',
        '{"a": "s3://key:canary@bucket"}',
        '{"a": "s3://canary@bucket"}',
        '{"a": "s3://bucket?secret=canary"}',
    ],
)
def test_a_bucket_that_cannot_be_is_refused_without_its_secrets(value, tmp_path):
    with pytest.raises(InvalidRequestError) as caught:
        load_settings(environ={"FTLAB_BUCKETS": value}, folder=tmp_path)
    assert str(caught.value.param).startswith("buckets")
    assert "canary" not in caught.value.message


def test_home_is_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_settings({"home": "data"}, {}).home == tmp_path / "data"


def test_server_url_defaults_to_host_and_port():
    assert Settings(port=9000).server_url == "http://127.0.0.1:9000"
    assert Settings(server="https://lab.example/").server_url == "https://lab.example"


@pytest.mark.parametrize(
    "url", ["mail.example.com", "http://mail.example.com", "smtp://", "smtp://u:canary-4711@host", "smtp://host:99999"]
)
def test_the_mail_server_is_checked_without_repeating_it(url, tmp_path):
    with pytest.raises(InvalidRequestError) as refused:
        load_settings({"smtp_url": url}, {}, tmp_path)
    assert refused.value.param == "smtp_url"
    assert "canary-4711" not in refused.value.message


def test_prices_are_decimals_from_every_source(tmp_path):
    (tmp_path / "ftlab.toml").write_text('[prices]\ncpu = 0.1\nH100 = "3.333333"\n')
    settings = load_settings({}, {}, tmp_path)
    assert settings.prices == {"cpu": Decimal("0.1"), "H100": Decimal("3.333333")}
    assert load_settings({}, settings.to_environment(), tmp_path / "elsewhere").prices == settings.prices
    assert load_settings({}, {"FTLAB_PRICES": '{"gpu": 2}'}, tmp_path).prices == {"gpu": Decimal(2)}


@pytest.mark.parametrize(
    "prices",
    ['{"cpu": -1}', '{"cpu": 1e9}', '{"cpu": "NaN"}', '{"cpu": 0.0000001}', '{"a b": 1}', '{"cpu": "x"}', "3", "[]"],
)
def test_prices_that_cannot_be_are_refused(prices, tmp_path):
    with pytest.raises(InvalidRequestError) as refused:
        load_settings({}, {"FTLAB_PRICES": prices}, tmp_path)
    assert (refused.value.param or "").partition(".")[0] == "prices"


def test_judges_come_as_a_table_or_as_json(tmp_path):
    (tmp_path / "ftlab.toml").write_text(
        '[judges.strict]\nurl = "https://api.example.com/v1/"\nmodel = "large"\nkey_env = "JUDGE_KEY"\ntimeout_s = 20\n'
    )
    judges = load_settings({}, {}, tmp_path).judges
    assert judges["strict"].url == "https://api.example.com/v1"
    assert judges["strict"].timeout_s == 20
    environment = load_settings({}, {}, tmp_path).to_environment()
    assert load_settings({}, environment, tmp_path / "elsewhere").judges == judges


@pytest.mark.parametrize(
    "judge",
    [
        {"url": "file:///etc/passwd"},
        {"url": "https://u:canary-4711@host/v1"},
        {"url": "https://host/v1?key=canary-4711"},
        {"url": "http://["},
        {"url": "https://host/v1", "key_env": "canary-4711"},
        {"url": "https://host/v1", "key": "canary-4711"},
    ],
)
def test_a_judge_that_cannot_be_is_refused_without_its_secrets(judge, tmp_path):
    with pytest.raises(InvalidRequestError) as refused:
        load_settings({}, {"FTLAB_JUDGES": json.dumps({"strict": {"model": "large"} | judge})}, tmp_path)
    assert (refused.value.param or "").startswith("judges")
    assert "canary-4711" not in refused.value.message


@pytest.mark.parametrize("currency", ["euro", "eur", "", "E1R"])
def test_a_currency_has_three_letters(currency, tmp_path):
    with pytest.raises(InvalidRequestError):
        load_settings({"currency": currency}, {}, tmp_path)


# The key of `ftlab login`


@pytest.fixture
def login(tmp_path):
    """Settings as a client reads them, after a login at `lab`."""
    file = tmp_path / "config" / "ftlab" / "login.toml"
    file.parent.mkdir(parents=True)
    file.write_text('server = "http://lab:8000"\napi_key = "ftl_stored"\n')
    file.chmod(0o600)

    def load(with_login=True, **environ):
        environ = {"XDG_CONFIG_HOME": str(tmp_path / "config")} | environ
        found = load_settings(environ=environ, folder=tmp_path, with_login=with_login)
        return found.server_url, found.api_key

    return load


def test_a_login_names_the_service_and_its_key(login):
    assert login() == ("http://lab:8000", "ftl_stored")
    assert login(FTLAB_API_KEY="ftl_other") == ("http://lab:8000", "ftl_other")
    assert login(FTLAB_SERVER="http://lab:8000/") == ("http://lab:8000", "ftl_stored")
    assert login(with_login=False) == ("http://127.0.0.1:8000", None)


@pytest.mark.parametrize(
    "environ",
    [
        {"FTLAB_SERVER": "http://other:8000"},
        {"FTLAB_SERVER": "https://lab:8000"},
        {"FTLAB_PORT": "8100"},
        {"FTLAB_HOST": "0.0.0.0"},
        {"FTLAB_HOME": "/data"},
    ],
)
def test_a_stored_key_goes_to_no_other_service(login, environ):
    server, key = login(**environ)
    assert server != "http://lab:8000"
    assert key is None


def test_a_key_that_others_can_read_is_refused(login, tmp_path):
    (tmp_path / "config" / "ftlab" / "login.toml").chmod(0o644)
    with pytest.raises(InvalidRequestError, match="chmod 600") as caught:
        login()
    assert caught.value.code == "unsafe_login_file"
    assert login(with_login=False)[1] is None


def test_the_processes_of_the_service_do_not_get_the_key_of_a_client(monkeypatch):
    monkeypatch.setenv("FTLAB_API_KEY", "ftl_canary")
    environment = Settings(api_key="ftl_canary", owner="ann", host="0.0.0.0").service_environment()
    assert "ftl_canary" not in str(environment)
    assert environment["FTLAB_HOST"] == "0.0.0.0"
    assert Settings(host="0.0.0.0").own_url == "http://127.0.0.1:8000"
