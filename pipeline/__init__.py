"""What runs: the nightly job and the commands on its store."""

import os

# Polars' allocator reads this when it is loaded: memory that is freed goes back to the system seconds later, since a night
# asks for the same amounts again and again.
os.environ.setdefault("_RJEM_MALLOC_CONF", "dirty_decay_ms:10000,muzzy_decay_ms:10000")
