"""Telemetry: the machines of the service, and what the devices of a job did."""
