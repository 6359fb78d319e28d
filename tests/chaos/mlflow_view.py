"""What MLflow has of a job, by its own HTTP API."""

import json
import urllib.parse
import urllib.request

from ftlab.settings import Settings

TIMEOUT_S = 30.0


class MlflowView:
    def __init__(self, settings: Settings) -> None:
        self._url = settings.mlflow_url

    def steps(self, run_id: str, name: str) -> list[int]:
        """The steps of every point of a metric, as often as they are there."""
        query = urllib.parse.urlencode({"run_id": run_id, "metric_key": name, "max_results": 25_000})
        url = f"{self._url}/api/2.0/mlflow/metrics/get-history?{query}"
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as reply:
            return [int(point["step"]) for point in json.load(reply).get("metrics", [])]
