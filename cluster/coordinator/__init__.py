"""The queue coordinator: tick by tick, it starts, watches and ends attempts."""
