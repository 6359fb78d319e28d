"""How long an event waits in the training process: `python -m tests.bench.event_delay [--rate EVENTS_PER_S]`.

It measures the time from `emit`, as the training callback calls it, until the batch with the event is handed to the
sender, without a network: the part of row 6 that the buffer adds.
"""

import argparse
import time
from datetime import UTC, datetime

from ftlab.schemas import MetricsPayload
from tests.bench.harness import percentile
from train.plan import Beat, StopKind
from train.reporting.event_sender import Emitted, Emitter


def main(rate: float, count: int) -> None:
    waits_ms: list[float] = []

    def send(events: list[Emitted], _beat: Beat | None) -> StopKind | None:
        now = datetime.now(UTC)
        waits_ms.extend((now - event.at).total_seconds() * 1000 for event in events)
        return None

    emitter = Emitter(send)
    emitter.start()
    for step in range(count):
        emitter.emit(MetricsPayload(step=step, values={"loss": 1.0}))
        time.sleep(1 / rate)
    emitter.close()
    print(f"{rate:g} events/s: median {percentile(waits_ms, 0.5):.1f} ms, p99 {percentile(waits_ms, 0.99):.1f} ms")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rate", type=float, default=10.0, help="events per second")
    parser.add_argument("--count", type=int, default=200, help="events that are emitted")
    options = parser.parse_args()
    main(options.rate, options.count)
