"""The Serve deployment, as far as it goes without a cluster."""

import asyncio
import importlib
from pathlib import Path

import pytest
import yaml
from prometheus_client import values
from ray.serve._private.http_util import RequestIdMiddleware
from ray.serve.schema import ServeDeploySchema
from starlette.testclient import TestClient

from serve import deployment
from serve.deployment import ApiReplica, build
from serve.metrics.process_metrics import FOLDER_VARIABLE


@pytest.fixture
def replica(monkeypatch, settings, store):
    for name, value in settings.to_environment().items():
        monkeypatch.setenv(name, value)
    # Both are set for the whole process, for which a replica is the only one that counts.
    monkeypatch.setattr(values, "ValueClass", values.ValueClass)
    monkeypatch.setenv(FOLDER_VARIABLE, "")
    return ApiReplica()


def test_a_replica_builds_its_application_from_the_environment(replica, settings):
    app = replica.__serve_build_asgi_app__()
    assert app.state.services.settings.home == settings.home
    asyncio.run(replica.check_health())


def test_the_wrapped_class_starts_and_stops_as_serve_does_it(replica):
    """A contract with Ray: constructor, then the application, then its lifespan, all on one event loop."""

    async def life():
        wrapped = deployment.Api.func_or_class
        instance = wrapped.__new__(wrapped)
        await instance.__init__()
        instance._set_asgi_app(instance.__serve_build_asgi_app__())
        await instance._run_asgi_lifespan_startup()
        await instance._serve_asgi_lifespan.shutdown()
        return instance.app.state.services.feed

    assert asyncio.run(life()).stopping


def test_a_reply_has_one_request_id_behind_serves_proxy(replica, monkeypatch):
    """A contract with Ray: its proxy adds the header to every reply by itself."""
    app = RequestIdMiddleware(replica.__serve_build_asgi_app__())
    reply = TestClient(app, base_url="http://127.0.0.1").get("/nowhere")
    assert len(reply.headers.get_list("x-request-id")) == 1
    assert reply.json()["error"]["request_id"] == reply.headers["x-request-id"]


def test_the_application_has_the_settings_replicas(replica, monkeypatch):
    monkeypatch.setenv("FTLAB_API_REPLICAS", "3")
    options = build({})._bound_deployment
    assert options.num_replicas == 3
    assert options.max_ongoing_requests == deployment.MAX_ONGOING_REQUESTS
    assert options.ray_actor_options["num_cpus"] == 0
    assert options._deployment_config.logging_config["enable_access_log"] is False
    assert build({"replicas": "1"})._bound_deployment.num_replicas == 1


def test_the_shipped_serve_config_loads(replica):
    text = (Path(__file__).parents[3] / "ray_configs" / "serve.yaml").read_text()
    config = ServeDeploySchema.model_validate(yaml.safe_load(text))
    (application,) = config.applications
    module, _, builder = application.import_path.partition(":")
    build = getattr(importlib.import_module(module), builder)
    assert build(application.args)._bound_deployment.num_replicas == 2
    assert config.http_options.request_timeout_s is None
