"""When events reach the live hub: `python -m tests.bench.hub_listener JOB SECONDS`, in the service's Ray environment.

Prints one JSON list: for each metrics event of the job the milliseconds from its own time to a listener of the hub.
"""

import asyncio
import json
import sys
import time
from datetime import datetime

import ray

from cluster.events.event_hub import RayEventHubClient
from cluster.names import NAMESPACE
from tests.bench.processes import say_back


async def main(job_id: str, seconds: float) -> None:
    ray.init(namespace=NAMESPACE, log_to_driver=False, logging_level="error")
    hub = RayEventHubClient(NAMESPACE)
    position, _ = await hub.listen(0)
    begin = time.time()
    latencies_ms: list[float] = []
    while time.time() < begin + seconds:
        position, events = await hub.listen(position)
        arrived_at = time.time()
        for event in (json.loads(document.text) for document in events if document.job_id == job_id):
            at = datetime.fromisoformat(event["at"]).timestamp()
            if event["kind"] == "metrics" and at >= begin:
                latencies_ms.append((arrived_at - at) * 1000)
    say_back(json.dumps(latencies_ms))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2])))
