"""Large uploads of the SDK against the real HTTP service: they go on after cuts, restarts and in another process."""

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Iterator

import httpx2
import pytest

from ftlab import errors
from ftlab.client import AsyncClient, Client, uploads
from ftlab.client._async import transport as async_transport
from ftlab.client._sync import transfers, transport
from ftlab.client.endpoint import Endpoint, RetryPolicy
from ftlab.client.wire import Fault
from ftlab.schemas import Upload
from tests.unit.ftlab.conftest import QUICK
from tests.unit.ftlab.test_real_service import ROW, address

__all__ = ["address"]

ROWS = ROW * 20_000
NEVER = 10**12


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch):
    """Pieces as small as the tests' files want them."""
    monkeypatch.setattr(uploads, "PIECES_FROM_BYTES", 1000)
    monkeypatch.setattr(uploads, "PIECE_BYTES", 600_000)
    monkeypatch.setattr(transport, "CHUNK_BYTES", 50_000)
    monkeypatch.setattr("serve.datasets.upload_routes.PIECE_BYTES", 100_000)


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_bytes(ROWS)
    return file


class Cuts:
    """Breaks the connection in the middle of a piece, after so many bytes of each of the first requests.

    `before` is called first: what is on its way through the network is lost with a connection.
    """

    def __init__(self, monkeypatch, after: list[int], before=lambda: None) -> None:
        self.sent: list[int] = []
        chunks_of = transport._chunks_of

        def cut(body) -> Iterator[bytes]:
            limit = after.pop(0) if after else NEVER
            self.sent.append(0)
            for chunk in chunks_of(body):
                if self.sent[-1] + len(chunk) > limit:
                    before()
                    raise httpx2.WriteError("the connection was cut")
                self.sent[-1] += len(chunk)
                yield chunk

        monkeypatch.setattr(transport, "_chunks_of", cut)


def test_a_large_file_goes_in_pieces(client, file, monkeypatch):
    cuts = Cuts(monkeypatch, [])
    seen = []
    dataset = client.datasets.upload(file, "Mine", "lora-datasets", lambda done, total: seen.append((done, total)))
    assert (dataset.sha256, dataset.num_rows) == (hashlib.sha256(ROWS).hexdigest(), 20_000)
    assert (dataset.name, dataset.bucket) == ("Mine", "lora-datasets")
    assert cuts.sent == [600_000, 600_000, len(ROWS) - 1_200_000]
    assert seen == sorted(seen)
    assert seen[-1] == (len(ROWS), len(ROWS))


def test_an_upload_goes_on_where_it_was_cut(client, world, file, monkeypatch):
    wanted = [200_000, 0, 600_000]

    def until_received():
        least = wanted.pop(0)
        while httpx2.get(world.url("/api/uploads")).json()["data"][0]["received_bytes"] < least:
            time.sleep(0.01)

    cuts = Cuts(monkeypatch, [250_000, 0, 450_000], until_received)
    dataset = client.datasets.upload(file)
    assert dataset.sha256 == hashlib.sha256(ROWS).hexdigest()
    assert wanted == []
    # Only what was not yet safe when the connection broke is sent again: less than a block of the service's each time,
    # and one piece where a slow service is still at the one that was cut when it comes.
    assert len(ROWS) <= sum(cuts.sent) <= len(ROWS) + 2 * 100_000 + 600_000


def test_an_upload_that_was_given_up_goes_on_in_another_client(client, world, file, monkeypatch):
    with monkeypatch.context() as patch:
        Cuts(patch, [NEVER, *[0] * 9])
        with (
            Client(world.url(""), max_retries=2, retry=QUICK) as weary,
            pytest.raises(errors.UnreachableError),
        ):
            weary.datasets.upload(file)
    cuts = Cuts(monkeypatch, [])
    with Client(world.url(""), retry=QUICK) as other:
        assert other.datasets.upload(file).sha256 == hashlib.sha256(ROWS).hexdigest()
    assert sum(cuts.sent) <= len(ROWS) - 600_000
    assert len(list(client.datasets.list())) == 1


def test_a_lost_answer_makes_no_second_dataset(client, file, monkeypatch):
    """The service has made the dataset, and the client never hears of it."""
    send = transport.Transport.send
    lost = []

    def lose_once(self, request):
        reply = send(self, request)
        if request.path.endswith("/complete") and not lost:
            lost.append(reply)
            raise Fault("the answer was lost")
        return reply

    monkeypatch.setattr(transport.Transport, "send", lose_once)
    dataset = client.datasets.upload(file)
    assert [found.id for found in client.datasets.list()] == [dataset.id]
    assert len(lost) == 1


def test_bad_rows_are_named_and_may_be_left_out_without_sending_them_again(client, file, monkeypatch):
    file.write_bytes(ROWS + b"{nonsense\n")
    with pytest.raises(errors.InvalidRequestError, match="line 20001") as caught:
        client.datasets.upload(file)
    assert caught.value.code == "dataset_invalid"
    cuts = Cuts(monkeypatch, [])
    dataset = client.datasets.upload(file, accept_partial=True)
    assert (dataset.num_rows, dataset.num_skipped, cuts.sent) == (20_000, 1, [])


def test_a_file_that_changes_while_it_is_sent_is_no_dataset(client, file, monkeypatch):
    chunks_of = transport._chunks_of

    def changing(body):
        file.write_bytes(ROWS[:-10] + b"x" * 10)
        yield from chunks_of(body)

    monkeypatch.setattr(transport, "_chunks_of", changing)
    with pytest.raises(errors.InvalidRequestError) as caught:
        client.datasets.upload(file)
    assert caught.value.code == "checksum_mismatch"
    assert list(client.datasets.list()) == []


@pytest.mark.parametrize(("kept", "num_pieces"), [([5, 5], 2), ([0, 4, 0, 4, 0, 2], 6)])
def test_cuts_after_a_long_while_are_outlived_as_long_as_something_comes(tmp_path, kept, num_pieces):
    """Each try takes longer than the budget, and only what the service kept says that something moved."""
    now, received, sent = 0.0, 0, []
    begun = Upload.model_validate(
        dict.fromkeys(("id", "owner", "bucket", "filename"), "x")
        | {"size_bytes": 10, "received_bytes": 0, "sha256": None, "dataset_id": None}
        | dict.fromkeys(("created_at", "expires_at"), "2026-01-01T00:00:00Z")
    )

    class Slow(transport.Transport):
        def send(self, request):
            nonlocal now, received
            if request.method == "PATCH":
                sent.append(int(request.headers["upload-offset"]))
                assert sent[-1] == received
                now, received = now + 100.0, received + kept.pop(0)
                raise Fault("cut")
            return httpx2.Response(200, content=begun.model_copy(update={"received_bytes": received}).model_dump_json())

    def sleep(seconds):
        nonlocal now
        now += seconds

    endpoint = Endpoint("http://host", None, RetryPolicy(), clock=lambda: now, jitter=lambda: 0.0)
    with contextlib.closing(Slow(endpoint, sleep)) as slow:
        transfers._send_rest(slow, tmp_path / "rows", begun, None)
    assert (received, len(sent)) == (10, num_pieces)


async def _upload(url, file):
    async with AsyncClient(url, retry=QUICK) as client:
        return await client.datasets.upload(file)


def test_the_async_client_goes_on_as_well(world, file, monkeypatch):
    left = [100_000, 300_000]
    chunks_of = async_transport._chunks_of

    async def cut(body):
        limit, sent = left.pop(0) if left else NEVER, 0
        async for chunk in chunks_of(body):
            sent += len(chunk)
            if sent > limit:
                raise httpx2.WriteError("the connection was cut")
            yield chunk

    monkeypatch.setattr(async_transport, "_chunks_of", cut)
    monkeypatch.setattr(async_transport, "CHUNK_BYTES", 50_000)
    dataset = asyncio.run(_upload(world.url(""), file))
    assert dataset.sha256 == hashlib.sha256(ROWS).hexdigest()
    assert left == []


def test_options_reach_the_service_both_ways(client, tmp_path, monkeypatch):
    file = tmp_path / "rows.csv"
    file.write_text("question,answer\n" + "a,b\n" * 1000 + ",\n")
    options = {
        "shape": "prompt_completion",
        "columns": {"prompt": "question", "completion": "answer"},
        "accept_partial": True,
    }
    for limit in (1000, NEVER):
        monkeypatch.setattr(uploads, "PIECES_FROM_BYTES", limit)
        dataset = client.datasets.upload(file, **options)
        assert (dataset.num_rows, dataset.num_skipped, dataset.format) == (1000, 1, "csv")
        assert dataset.column_mapping == {"shape": options["shape"], "columns": options["columns"]}


def test_move_and_url(client, file, world, tmp_path):
    dataset = client.datasets.upload(file)
    assert client.datasets.move(dataset.id, "lora-datasets").bucket == "lora-datasets"
    signed = client.datasets.url(dataset.id, 60)
    assert httpx2.get(signed.url).content == ROWS
    with pytest.raises(errors.InvalidRequestError):
        client.datasets.move(dataset.id, "nowhere")
    with pytest.raises(errors.NotFoundError):
        client.datasets.url("ds-none")
