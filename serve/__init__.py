"""The HTTP API, live streams and downloads."""
