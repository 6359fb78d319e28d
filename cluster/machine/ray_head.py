"""The head of the Ray cluster: `python -m cluster.machine.ray_head start --head …`, as `ray start --head …`.

Ray's own command imports Ray Serve, which has commands of its own, and starts a server for clients outside of the
cluster. Both stay in memory, and nothing here uses them.
"""

from typing import Any

from ray._private.node import Node

from ftlab.hidden_packages import hidden

with hidden("ray.serve"):
    from ray.scripts import scripts


def _start_nothing(*_: Any) -> None:
    pass


if __name__ == "__main__":
    Node.start_ray_client_server = _start_nothing  # with another name in a later Ray, the server starts
    scripts.main()
