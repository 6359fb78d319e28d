"""The processes of the service on one machine: supervisor, ports, environment, priorities."""
