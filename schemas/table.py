"""A table: its columns with their types and meaning, in one place for code, docs and readers."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

TIME = pl.Datetime("us", "UTC")


@dataclass(frozen=True)
class Table:
    """A named table: column -> (type, meaning), and the columns that order its rows.

    `personal`: column -> kind (a name of `schemas.personal.KINDS`) of what in it is about people; a field of a list of structs
    as column.field. `sealed`: what is personal is encrypted rather than made a pseudonym, since the next night reads it.
    """

    name: str
    columns: Mapping[str, tuple[pl.DataType | type[pl.DataType], str]]
    order: tuple[str, ...] = ()
    personal: Mapping[str, str] = field(default_factory=dict)
    sealed: bool = False

    @property
    def schema(self) -> dict[str, pl.DataType | type[pl.DataType]]:
        """Column -> Polars type, in published order."""
        return {name: dtype for name, (dtype, _) in self.columns.items()}

    def empty(self) -> pl.DataFrame:
        """A frame of this table without rows."""
        return pl.DataFrame(schema=self.schema)

    def conform(self, frame: pl.DataFrame) -> pl.DataFrame:
        """`frame` with exactly this table's columns and types; what it lacks is null, what is foreign is dropped."""
        have = frame.columns
        return frame.select(
            (pl.col(name).cast(dtype) if name in have else pl.lit(None, dtype)).alias(name)
            for name, dtype in self.schema.items()
        )

    def sorted(self, frame: pl.DataFrame) -> pl.DataFrame:
        """`frame` in this table's own row order, the same whatever order its rows came in."""
        return frame.sort(self.order or tuple(self.schema), nulls_last=False)
