"""docs/tables.md tells every table and column as it is."""

from pathlib import Path

from hoptrace.schemas.catalog import TABLES
from hoptrace.schemas.docs import tables_page

PAGE = Path(__file__).resolve().parents[1] / "docs" / "tables.md"


def test_the_page_is_what_the_tables_are() -> None:
    assert PAGE.read_text("utf-8") == tables_page(), "run: python -m hoptrace.schemas.docs > docs/tables.md"


def test_every_table_and_column_is_there() -> None:
    for table in TABLES.values():
        section = tables_page().split(f"## {table.name}\n")[1].split("\n## ")[0]
        assert [name for name in table.columns if f"\n| {name} | " not in section] == []
