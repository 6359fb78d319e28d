"""What holds for every test."""

from hypothesis import settings

# How long an example takes depends on what else the machine does, so no test fails of it.
settings.register_profile("ftlab", deadline=None)
settings.load_profile("ftlab")
