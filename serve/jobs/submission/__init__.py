"""From a request to a queued job: what is checked, looked up, filled in and estimated."""
