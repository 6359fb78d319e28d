"""The `ftlab` command."""
