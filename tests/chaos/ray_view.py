"""What Ray itself says about its actors and reservations, over the HTTP API of its dashboard."""

import json
import urllib.request
from typing import Any

from cluster.machine.environment import token_file
from ftlab.settings import Settings

TIMEOUT_S = 10.0
LIMIT = 1000


class RayView:
    """Raises `OSError` while the dashboard is away."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def actors(self) -> list[dict[str, Any]]:
        """All that live."""
        return [actor for actor in self._list("actors") if actor["state"] == "ALIVE"]

    def pid_of(self, name: str) -> int:
        """Process of a named actor."""
        [pid] = [actor["pid"] for actor in self.actors() if actor["name"] == name]
        return int(pid)

    def nodes(self) -> list[dict[str, Any]]:
        """All that live."""
        return [node for node in self._list("nodes") if node["state"] == "ALIVE"]

    def reserved_cpus(self) -> float:
        """CPUs that placement groups hold, or wait for."""
        bundles = [
            bundle
            for group in self._list("placement_groups")
            if group["state"] != "REMOVED"
            for bundle in group["bundles"]
        ]
        return sum(float(bundle["unit_resources"].get("CPU", 0.0)) for bundle in bundles)

    def _list(self, kind: str) -> list[dict[str, Any]]:
        token = token_file(self._settings).read_text("utf-8")
        request = urllib.request.Request(
            f"{self._settings.dashboard_url}/api/v0/{kind}?detail=1&limit={LIMIT}",
            headers={"Authorization": f"Bearer {token}"},
        )
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as reply:
            document = json.load(reply)
        if not document["result"]:
            raise OSError(document["msg"])
        found: list[dict[str, Any]] = document["data"]["result"]["result"]
        return found
