"""What holds for every test."""

import os
import signal

from hypothesis import settings

# How long an example takes depends on what else the machine does, so no test fails of it.
settings.register_profile("ftlab", deadline=None, derandomize="HYPOTHESIS_SAME_EXAMPLES" in os.environ)
settings.load_profile("ftlab")

# A shell has what it runs in the background ignore these, and the services that tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)
