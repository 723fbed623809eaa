"""docs/tables.md, made from the tables themselves: python -m hoptrace.schemas.docs > docs/tables.md."""

import importlib
from typing import Any

import polars as pl

from hoptrace.schemas.catalog import TABLES
from hoptrace.schemas.table import TIME, Table

MODULES = ("coverage", "delay_stats", "deliveries", "events", "handoffs", "hops", "mailbox_events", "nights", "notices")
WORDS = {pl.Int64: "integer", pl.Int32: "integer", pl.Float64: "number", pl.Boolean: "yes/no"}
MORE = {
    "open": "What is not settled when the night ends; the columns of `deliveries`. Only the newest night counts.",
    "open_hops": "The events of what is not settled, from which the next night goes on.",
    "hop_recipients": "One row per recipient of a stay in a queue.",
    "hops": "One row per stay of a message in one queue.",
    "coverage": "What was read of each host, hour by hour, and where logs have holes.",
    "unparsed": "Lines that no grammar row knows, by template.",
    "files": "The files that a night read.",
}


def type_name(dtype: Any) -> str:
    """The type of a column in words."""
    if dtype == TIME:
        return "time (UTC, µs)"
    if isinstance(dtype, pl.List):
        return f"list of {type_name(dtype.inner)}"
    if isinstance(dtype, pl.Struct):
        return "struct (" + ", ".join(field.name for field in dtype.fields) + ")"
    return next((word for known, word in WORDS.items() if dtype == known), "text")


def table_page(table: Table) -> str:
    """The section of one table."""
    told = MORE.get(table.name) or _modules_own_words(table)
    columns = table.columns.items()
    rows = [f"| {name} | {type_name(dtype)} | {meaning} |" for name, (dtype, meaning) in columns]
    if "day" not in table.columns:
        rows.append("| day | text | the night that published the row, YYYY-MM-DD |")
    return "\n".join([f"## {table.name}", "", told, "", "| column | type | meaning |", "|---|---|---|", *rows, ""])


def tables_page() -> str:
    """The whole of docs/tables.md."""
    head = (
        "# Tables\n\nMade from `schemas/` by `python -m hoptrace.schemas.docs`. Every table is a Delta Lake table "
        "below the store, of which a\nnight replaces its own `day`; `nights` names the versions that belong together.\n"
    )
    return "\n".join([head, *(table_page(table) for table in TABLES.values())])


def _modules_own_words(table: Table) -> str:
    for name in MODULES:
        module = importlib.import_module(f"hoptrace.schemas.{name}")
        if any(getattr(module, each) is table for each in vars(module)):
            said = (module.__doc__ or "").split(": ", 1)[-1].strip()
            return said[0].upper() + said[1:]
    raise LookupError(table.name)


if __name__ == "__main__":
    print(tables_page(), end="")
