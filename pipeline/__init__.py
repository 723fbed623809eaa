"""What runs: the nightly job and the commands on its store."""

import os

# Polars' allocator reads this when it is loaded: a night asks for the same amounts of memory again and again, so that freed
# memory goes back to the system only seconds later, large pieces like small ones. Huge pages would be zeroed for nothing.
os.environ.setdefault(
    "_RJEM_MALLOC_CONF",
    f"oversize_threshold:0,narenas:{os.cpu_count() or 1},dirty_decay_ms:30000,muzzy_decay_ms:30000",
)
