"""`hoptrace prune`: old days leave the store."""

from datetime import date, timedelta

from rich.console import RenderableType

from hoptrace.pipeline import printing
from hoptrace.pipeline.store import Store


def prune(store: Store, keep_days: int, *, dry_run: bool = False) -> list[str]:
    """Take the days before the last `keep_days` out of the store, counted back from its newest night; returns them in order.

    First their rows of `nights`, in one commit, then their rows in every table, open state among them. A prune that was killed
    in between is ended by the next. Files stay until `hoptrace gc`, for readers at work.
    """
    nights = store.days()
    if not nights:
        return []
    first_kept = (date.fromisoformat(nights[-1]["day"]) - timedelta(days=keep_days - 1)).isoformat()
    old = sorted(day for day in store.known_days() if day < first_kept)
    if old and not dry_run:
        store.drop(old)
    return old


def pruned_page(days: list[str], store: Store, dry_run: bool) -> list[RenderableType]:
    """What `hoptrace prune` prints."""
    if not days:
        return [printing.line(f"{store.root.url}: no day is older than that.")]
    span = days[0] if len(days) == 1 else f"{len(days)} days, {days[0]} to {days[-1]}"
    then = "" if dry_run else "; their files go with: hoptrace gc"
    return [printing.line(f"{store.root.url}: {'would take' if dry_run else 'took'} out {span}{then}.")]
