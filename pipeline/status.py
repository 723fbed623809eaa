"""`hoptrace status`: which nights the store has, and which are stale."""

from datetime import date, timedelta
from typing import Any

from rich.console import RenderableType

from hoptrace.pipeline import printing
from hoptrace.pipeline.printing import number
from hoptrace.pipeline.store import Night, Store

KEYS = ("day", "published_at", "starts_at", "ends_at", "cold_start", "state_of", "hoptrace")


def status(store: Store) -> list[dict[str, Any]]:
    """Per day from the first night to the last: the night's row, its lines and files, and `state`.

    `state` is `ok`; `stale` where the night before was published again since; `missing` where there is no night.
    """
    nights = {night["day"]: night for night in store.days()}
    if not nights:
        return []
    first, last = date.fromisoformat(min(nights)), date.fromisoformat(max(nights))
    days = [(first + timedelta(days=n)).isoformat() for n in range((last - first).days + 1)]
    return [_described(nights.get(day), day, nights) for day in days]


def _described(night: Night | None, day: str, nights: dict[str, Night]) -> dict[str, Any]:
    if night is None:
        return {"day": day, "state": "missing"}
    counts, inputs = night["counts"] or {}, night["inputs"] or []
    read = {
        "lines": counts.get("lines"),
        "files": len(inputs),
        "files_with_errors": sum(bool(i.get("error")) for i in inputs),
    }
    return {**{key: night[key] for key in KEYS}, **read, "state": "stale" if _stale(night, nights) else "ok"}


def _stale(night: Night, nights: dict[str, Night]) -> bool:
    """Whether the open state that the night started from is not the one now in the store."""
    before, _, version = (night["state_of"] or "").partition("@")
    if not before:
        day_before = (date.fromisoformat(night["day"]) - timedelta(days=1)).isoformat()
        return day_before in nights
    state = nights.get(before)
    if state is None and before < min(nights):
        return False  # pruned
    return state is None or str(state["versions"].get("open_hops")) != version


def status_page(store: Store) -> list[RenderableType]:
    """What `hoptrace status` prints."""
    rows = status(store)
    if not rows:
        return [printing.line(f"{store.root.url}: no night has been published here yet.")]
    cells = [
        [row["day"], row["state"], f"{row['published_at']:%Y-%m-%d %H:%M:%S}Z" if "published_at" in row else "",
         number(row.get("lines")), number(row.get("files")), number(row.get("files_with_errors")),
         "cold start" if row.get("cold_start") else row.get("state_of") or ""]
        for row in rows
    ]  # fmt: skip
    heads = ["day", "state", "published", ">lines", ">files", ">with errors", "started from"]
    page: list[RenderableType] = [printing.table(heads, cells)]
    bad = [row["day"] for row in rows if row["state"] != "ok"]
    if bad:
        page.append(printing.line(f"Run again from {bad[0]} on: stale nights began from a state that is no more."))
    return page
