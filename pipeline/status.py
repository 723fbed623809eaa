"""`hoptrace status`: which nights the store has, and which are stale."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from rich.console import RenderableType

from hoptrace.pipeline import printing
from hoptrace.pipeline.late import find_late
from hoptrace.pipeline.open_state import checksum_of
from hoptrace.pipeline.printing import number
from hoptrace.pipeline.store import Night, Store
from hoptrace.schemas.fleet import Fleet

KEYS = ("day", "published_at", "starts_at", "ends_at", "cold_start", "state_of", "hoptrace")


def status(store: Store, logs: Sequence[str] = (), fleet: Fleet | None = None) -> list[dict[str, Any]]:
    """Per day from the first night to the last: the night's row, its lines and files, `state`, and `why`.

    `state` is `ok`; `stale` where the open state that the night began from is no more, or where `logs` now hold other lines for
    it; `missing` where there is no night. Without `logs` lines are not compared.
    """
    nights = {night["day"]: night for night in store.days()}
    if not nights:
        return []
    late = find_late(list(nights.values()), logs, fleet or Fleet()) if logs else {}
    first, last = date.fromisoformat(min(nights)), date.fromisoformat(max(nights))
    days = [(first + timedelta(days=n)).isoformat() for n in range((last - first).days + 1)]
    return [_described(store, nights.get(day), day, nights, late.get(day, (False, ""))) for day in days]


def _described(
    store: Store, night: Night | None, day: str, nights: Mapping[str, Night], late: tuple[bool, str]
) -> dict[str, Any]:
    if night is None:
        return {"day": day, "state": "missing"}
    counts, inputs = night["counts"] or {}, night["inputs"] or []
    read = {
        "lines": counts.get("lines"),
        "files": len(inputs),
        "files_with_errors": sum(bool(i.get("error")) for i in inputs),
    }
    other = state_changed(store, night, nights)
    why = "; ".join(text for text in (other, late[1]) if text) or None
    return {**{key: night[key] for key in KEYS}, **read, "state": "stale" if other or late[0] else "ok", "why": why}


def state_changed(store: Store, night: Night, nights: Mapping[str, Night]) -> str | None:
    """Why the open state that the night began from is not the one now in the store; None where it is."""
    before, _, version = (night["state_of"] or "").partition("@")
    if not before:
        day_before = day_before_of(night)
        return f"it began without {day_before}, which is there now" if day_before in nights else None
    state = nights.get(before)
    if state is None:
        pruned = before < min(nights)
        return None if pruned else f"{before}, from which it went on, is no more"
    if str(state["versions"].get("open_hops")) == version:
        return None
    if night["state_checksum"] == checksum_of(store.read("open_hops", [before])):
        return None  # run again, to the same end
    return f"{before}, from which it went on, was run again and ends otherwise"


def day_before_of(night: Night) -> str:
    """The day before a night's."""
    return (date.fromisoformat(night["day"]) - timedelta(days=1)).isoformat()


def status_page(store: Store, logs: Sequence[str] = (), fleet: Fleet | None = None) -> list[RenderableType]:
    """What `hoptrace status` prints."""
    rows = status(store, logs, fleet)
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
    page += [printing.line(f"{row['day']}: {row['why']}") for row in rows if row.get("why")]
    missing = [row["day"] for row in rows if row["state"] == "missing"]
    if missing:
        page.append(printing.line(f"{', '.join(missing)}: not there; run from {missing[0]} on."))
    if any(row["state"] == "stale" for row in rows):
        page.append(printing.line("hoptrace nightly --stale runs what is stale again."))
    if not logs:
        page.append(printing.line("Whether logs came late is told with --logs."))
    return page
