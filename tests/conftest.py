"""What holds for every test: the machine's own settings do not show."""

import os

os.environ.pop("HOPTRACE_COMMAND", None)
