"""The door: the HTTP API, live streams and downloads."""
