"""`/mcp`: who may use which tool, which requests are refused, and what is recorded of them."""

import asyncio
import json
from contextlib import contextmanager

import httpx2
import pytest
from mcp.shared.exceptions import MCPError

from ftlab.client import AsyncClient
from ftlab.mcp import server
from ftlab.mcp.tool import Door
from ftlab.schemas.accounts import Scope
from tests.support.agents import Agent, Refused
from tests.unit.ftlab.conftest import in_thread
from tests.unit.serve.accounts.with_keys import add_key

ROW = '{"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Hello"}]}\n'
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
ACCEPT = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
OFFERED = {tool.name: tool.scope for tool in server.TOOLS if tool.door in (None, Door.HTTP)}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with in_thread(tmp_path_factory.mktemp("world") / "home") as world:
        yield world


@pytest.fixture
def url(world) -> str:
    return str(world.url("/mcp"))


@pytest.fixture
def ann(world) -> dict[str, str]:
    return add_key(world.store, "ann", Scope.TRAIN)


def test_an_agent_sees_the_tools_of_its_scope(world, url, ann):
    reader = add_key(world.store, "ann", Scope.READ)
    admin = add_key(world.store, "root", Scope.ADMIN)
    reading = {name for name, scope in OFFERED.items() if scope is Scope.READ}
    assert set(Agent.over_http(url, reader).tools()) == reading
    assert set(Agent.over_http(url, ann).tools()) == set(Agent.over_http(url, admin).tools()) == set(OFFERED)
    with pytest.raises(Refused, match="scope 'train'") as caught:
        Agent.over_http(url, reader)("cancel_job", job="job-none")
    assert caught.value.error["code"] == "insufficient_scope"


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_an_agent_has_the_records_of_its_user(world, url, ann, mode):
    bob = Agent.over_http(url, add_key(world.store, "bob", Scope.TRAIN), mode=mode)
    uploaded = Agent.over_http(url, ann, mode=mode)("upload_dataset", name=f"{mode}.jsonl", content=ROW)
    assert uploaded["num_rows"] == 1
    assert bob("list_datasets")["datasets"] == []
    with pytest.raises(Refused) as caught:
        bob("show_dataset", dataset=uploaded["id"])
    assert caught.value.error["code"] == "dataset_not_found"


def test_the_audit_log_has_what_an_agent_did(world, url):
    key = add_key(world.store, "eve", Scope.TRAIN)
    agent = Agent.over_http(url, key)
    agent("list_datasets")
    agent("upload_dataset", name="rows.jsonl", content=ROW)

    async def entries():
        admin = add_key(world.store, "root", Scope.ADMIN)["authorization"].removeprefix("Bearer ")
        async with AsyncClient(world.url(""), admin) as client:
            while not (found := [entry async for entry in client.audit(user="eve")]):
                await asyncio.sleep(0.05)
            return found

    [entry] = asyncio.run(entries())
    assert (entry.action, entry.address, entry.status) == ("POST /api/datasets", "127.0.0.1", 201)


def post(url: str, *, method: str = "POST", **options) -> httpx2.Response:
    headers = ACCEPT | options.pop("headers", {})
    return httpx2.request(method, url, headers=headers, **({"json": PING} | options))


def test_no_message_is_taken_without_a_key_or_from_elsewhere(world, url, ann):
    assert post(url, headers=ann).status_code == 200
    for headers, status, code in (
        ({}, 401, "missing_api_key"),
        ({"authorization": "Bearer ftl_x"}, 401, "invalid_api_key"),
        (ann | {"origin": "https://evil.example"}, 403, "forbidden_origin"),
        (ann | {"host": "evil.example"}, 400, "invalid_host"),
    ):
        refused = post(url, headers=headers)
        assert (refused.status_code, refused.json()["error"]["code"]) == (status, code)


def test_a_cookie_is_not_a_key(world, url, ann):
    origin = {"origin": world.url("")}
    key = ann["authorization"].removeprefix("Bearer ")
    signed_in = httpx2.post(world.url("/api/session"), json={"key": key}, headers=origin)
    cookie = signed_in.headers["set-cookie"].partition(";")[0]
    with pytest.raises(MCPError, match="requires an API key"):
        Agent.over_http(url, origin | {"cookie": cookie}).tools()


@pytest.mark.parametrize(
    "options",
    [
        {"content": b"{nonsense"},
        {"content": b"[]"},
        {"content": b"\xff\xfe"},
        {"content": b"[" * 100_000},
        {"json": {"jsonrpc": "2.0", "id": {}, "method": 5}},
        {"json": PING, "headers": {"content-type": "text/plain"}},
        {"json": PING, "headers": {"accept": "text/html"}},
        {"json": PING, "headers": {"mcp-protocol-version": "1999-01-01"}},
        {"json": PING, "method": "GET"},
        {"json": PING, "method": "DELETE"},
        {"content": b" " * 1024**2 + b"{}"},
    ],
    ids=str,
)
def test_bad_messages_are_refused(url, ann, options):
    options = {"json": None} | options if "content" in options else options
    refused = post(url, **options | {"headers": ann | options.get("headers", {})})
    assert 400 <= refused.status_code < 500, refused.text
    assert refused.json()["error"]["message"]


def test_a_tool_with_broken_arguments_is_not_a_failure_of_the_service(url, ann):
    message = PING | {"method": "tools/call", "params": {"name": "get_job", "arguments": {"job": 5}}}
    answer = json.loads(post(url, headers=ann, json=message).text)["result"]
    assert (answer["isError"], answer["structuredContent"]["error"]["code"]) == (True, "invalid_parameter")


@contextmanager
def _restarted(home):
    with in_thread(home) as world:
        yield Agent.over_http(str(world.url("/mcp")))


def test_a_service_without_keys_offers_everything_and_starts_again(tmp_path):
    for _ in range(2):
        with _restarted(tmp_path / "home") as agent:
            assert set(agent.tools()) == set(OFFERED)
