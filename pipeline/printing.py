"""Text for people: aligned, at most 100 columns, and safe to print whatever a stranger put into a mail."""

import io
import json
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timezone, tzinfo
from typing import Any

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

WIDTH = 100
UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
"""Control and format characters (Unicode's Cc and Cf, as far as they steer a terminal, or hide or turn round text)."""


def clean(value: object) -> str:
    """`value` as one line of text in which nothing can steer a terminal: control characters are spelt as escapes."""
    if value is None:
        return ""
    return UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), str(value))


def cut(value: object, most: int) -> str:
    """`clean`, of at most `most` characters."""
    said = clean(value)
    return said if len(said) <= most else said[: most - 3] + "..."


def title(text: str) -> Text:
    """A heading with an empty line above."""
    return Text.assemble("\n", (clean(text), "bold"))


def line(*words: object, indent: int = 0, style: str = "") -> RenderableType:
    """A line of words, wrapped with its indent kept."""
    if not indent:
        return Text(" ".join(clean(word) for word in words), style=style, overflow="fold")
    grid = Table.grid(padding=0)
    grid.add_column(width=indent)
    grid.add_column(overflow="fold")
    grid.add_row("", Text(" ".join(clean(word) for word in words), style=style))
    return grid


def table(heads: Sequence[str], rows: Iterable[Sequence[object]], wide: Sequence[str] = ()) -> Table:
    """Aligned columns; a head that starts with '>' is a column of numbers, `wide` ones are folded, others cut short."""
    made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1), header_style="bold")
    for head in heads:
        name = head.lstrip(">")
        fold = name in wide or head != name
        made.add_column(
            Text(name), justify="right" if head != name else "left", no_wrap=not fold or head != name,
            overflow="fold" if fold else "ellipsis",
        )  # fmt: skip
    for row in rows:
        made.add_row(*(Text(clean(cell)) for cell in row))
    return made


def render(items: Iterable[RenderableType]) -> str:
    """`items` as plain text of at most 100 columns, without blanks at the ends of lines."""
    sink = io.StringIO()
    _print(Console(file=sink, width=WIDTH, color_system=None, force_terminal=False, legacy_windows=False), items)
    return "\n".join(text.rstrip() for text in sink.getvalue().split("\n"))


def show(items: Iterable[RenderableType]) -> None:
    """Print `items`: with bold heads on a terminal, plainly elsewhere."""
    if sys.stdout.isatty():
        _print(Console(width=min(WIDTH, Console().width)), items)
    else:
        text = render(items)
        sys.stdout.write(text if "utf" in (sys.stdout.encoding or "").lower() else text.replace("\u2500", "-"))


def _print(console: Console, items: Iterable[RenderableType]) -> None:
    for item in items:
        verbatim_text = isinstance(item, Text) and bool(item.no_wrap)
        console.print(item, highlight=False, markup=False, emoji=False, soft_wrap=verbatim_text)


def show_json(value: object) -> None:
    """Print `value` as JSON: times in UTC, ending in Z; ASCII only."""
    print(json.dumps(value, default=_plain, indent=2))


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"not for JSON: {type(value)}")


def number(value: int | None) -> str:
    """1234567 as 1,234,567."""
    return "" if value is None else f"{value:,}"


def counted(value: int, noun: str) -> str:
    """1 message; 1,234 messages."""
    return f"{number(value)} {noun}" if value == 1 else f"{number(value)} {noun}s"


def span(seconds: float | None) -> str:
    """A duration in at most two units: 0.25 s, 12 s, 3 min 5 s, 4 h 12 min, 2 d 3 h."""
    if seconds is None:
        return ""
    if seconds < 0:
        return "-" + span(-seconds)
    if seconds < 10:
        return f"{seconds:.2f}".rstrip("0").rstrip(".") + " s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    for large, one, small, other in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= large:
            rest = whole % large // small
            return f"{whole // large} {one}" + (f" {rest} {other}" if rest else "")
    raise AssertionError


def moment(value: datetime | None, zone: tzinfo, seconds: bool = True) -> str:
    """A time in `zone`: 2026-03-01 14:03:22."""
    form = "%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M"
    return "" if value is None else value.astimezone(zone).strftime(form)


def verbatim(text: str) -> Text:
    """A line to copy: never wrapped."""
    return Text(clean(text), no_wrap=True, overflow="ignore")
