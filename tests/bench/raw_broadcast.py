"""The baseline of live metrics: `python -m tests.bench.raw_broadcast PORT INTERVAL_S EVENT`, `websockets` and no more.

It sends EVENT (JSON) to all sockets each INTERVAL_S, with a new number and time, in the frame that the service uses.
"""

import asyncio
import itertools
import json
import sys
from datetime import UTC, datetime

from websockets.asyncio.server import ServerConnection, broadcast, serve


async def main(port: int, interval_s: float, event: dict[str, object]) -> None:
    async def stay(socket: ServerConnection) -> None:
        await socket.wait_closed()

    async with serve(stay, "127.0.0.1", port, compression=None, backlog=1024) as server:
        for seq in itertools.count(1):
            await asyncio.sleep(interval_s)
            newest = event | {"seq": seq, "at": datetime.now(UTC).isoformat()}
            broadcast(server.connections, json.dumps({"type": "events", "events": [newest]}))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2]), json.loads(sys.argv[3])))
