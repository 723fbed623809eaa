"""Why mail failed or waits: recipients per cause, and how many of them nothing tells the cause of."""

from collections.abc import Sequence

import polars as pl
from rich.console import RenderableType

from hoptrace.pipeline import printing
from hoptrace.pipeline.find import Row
from hoptrace.pipeline.printing import cut, number
from hoptrace.pipeline.store import Store
from hoptrace.schemas.causes import UNKNOWN

C = pl.col
SHOWN = 8
REPLY_CHARACTERS = 60


def reasons(store: Store, days: Sequence[str]) -> pl.DataFrame:
    """cause, recipients, reply (the commonest one) of what was not delivered on `days`, or is open after them, notices left out;
    the most frequent first."""
    parts = [store.scan("deliveries", days), store.scan("open", days[-1:])]
    n = pl.when(C("recipient").is_null()).then("n_recipients").fill_null(1)
    read = pl.concat(
        part.filter((C("outcome") != "delivered") & C("cause").is_not_null() & C("caused_by").is_null()).select(
            "cause", "reply", recipients=n
        )
        for part in parts
    )
    said = (
        read.group_by("cause", "reply").agg(C("recipients").sum()).sort("recipients", "reply", descending=[True, False])
    )
    told = said.group_by("cause").agg(C("recipients").sum(), C("reply").drop_nulls().first())
    return told.sort("recipients", "cause", descending=[True, False]).collect()


def reasons_page(rows: list[Row]) -> list[RenderableType]:
    """The commonest causes, and the share of those that nothing tells."""
    if not rows:
        return []
    known = [row for row in rows if row["cause"] != UNKNOWN][:SHOWN]
    cells = [
        [row["cause"].replace("_", " "), number(row["recipients"]), cut(row["reply"], REPLY_CHARACTERS)]
        for row in known
    ]
    total = sum(row["recipients"] for row in rows)
    unknown = sum(row["recipients"] for row in rows if row["cause"] == UNKNOWN)
    page: list[RenderableType] = [printing.title("Why the rest failed or waits")]
    if cells:
        page.append(printing.table(["cause", ">recipients", "commonest answer"], cells, wide=["commonest answer"]))
    page.append(printing.line(f"Cause unknown: {number(unknown)} of {number(total)} ({unknown / total:.1%})"))
    return page
