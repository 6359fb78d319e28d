"""The queue coordinator: one tick after the other, it starts, watches and ends attempts."""
