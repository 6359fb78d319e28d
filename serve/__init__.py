"""The HTTP API, live streams and downloads."""

import cluster.machine.lean_ray  # noqa: F401  (before anything here imports Ray Serve)
