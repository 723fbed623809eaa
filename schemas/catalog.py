"""Every table of a store, by name, and the version of their meaning."""

from collections.abc import Mapping

from hoptrace.schemas.coverage import COVERAGE, FILES, UNPARSED
from hoptrace.schemas.delay_stats import DELAY_STATS
from hoptrace.schemas.deliveries import DELIVERIES, OPEN
from hoptrace.schemas.events import OPEN_HOPS
from hoptrace.schemas.handoffs import HANDOFFS
from hoptrace.schemas.hops import HOP_RECIPIENTS, HOPS
from hoptrace.schemas.mailbox_events import MAILBOX_EVENTS
from hoptrace.schemas.nights import NIGHTS
from hoptrace.schemas.notices import NOTICES
from hoptrace.schemas.table import Table

STORE_VERSION = 1
"""Raised when a column changes its meaning; a mere new column does not raise it."""

DAY_TABLES: Mapping[str, Table] = {
    table.name: table
    for table in (
        DELIVERIES, OPEN, HOPS, HOP_RECIPIENTS, HANDOFFS, NOTICES, MAILBOX_EVENTS, DELAY_STATS, COVERAGE, UNPARSED, FILES,
        OPEN_HOPS,
    )
}  # fmt: skip
"""Tables that a night replaces for its day, in the order in which it commits them."""

TABLES: Mapping[str, Table] = {**DAY_TABLES, NIGHTS.name: NIGHTS}
