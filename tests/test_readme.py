"""The README's example is what the code does with its lines."""

import re
from pathlib import Path

import polars as pl

from hoptrace.schemas.fleet import load_fleet
from hoptrace.transforms.grammar import load_grammars
from hoptrace.transforms.parse import parse_chunk
from hoptrace.transforms.plan import Night
from hoptrace.transforms.read import Chunk, Range
from tests.plain import run_plain

ROOT = Path(__file__).parents[1]
DAY_US = 86_400_000_000
NEW_YEAR = 1_767_225_600_000_000


def test_three_lines_make_the_row_shown() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    logs = re.findall(r"^```\n(.*?)^```", text, re.DOTALL | re.MULTILINE)[0]
    shown = [cell.strip() for cell in re.findall(r"^\| andersj.*$", text, re.MULTILINE)[0].strip("| ").split("|")]
    night = Night(NEW_YEAR, NEW_YEAR + DAY_US)
    fleet = load_fleet(str(ROOT / "sample" / "fleet.toml"))
    whole = Range("README.md", 0, None, len(logs), 0, "readme", True, True, None)
    events = parse_chunk(Chunk(logs.encode(), 0), whole, load_grammars(), fleet, night.window).events
    told = run_plain(events, fleet, night, {"smtp01": night.ends_at, "mx03": night.ends_at, "store01": night.ends_at})
    (row,) = told.tables["deliveries"].with_columns(pl.col("submitted_at").cast(pl.Datetime("us"))).to_dicts()
    assert shown == [
        row["recipient"], " > ".join(row["path"]), row["outcome"], row["folder"],
        f"{row['submitted_at']:%Y-%m-%d %H:%M:%S.%f}"[:-3], f"{row['delay_s']:.1f}", row["delay_class"], row["worst_host"],
        row["worst_stage"], ", ".join(stay["evidence"] for stay in row["hops"] if stay["evidence"]),
    ]  # fmt: skip
