"""How far the clocks of hosts are apart, as their hand-overs show."""

import polars as pl

C = pl.col
HOUR_US = 3_600_000_000
MS = 1000


def sample_skew(hops: pl.DataFrame, starts_at: int, ends_at: int) -> pl.DataFrame:
    """host, hour (µs), skew_ms, links: how far a taker's clock must be off, counted over the certain relay links of the night.

    Positive: first seen after the giver had logged the hand-over, so the taker's clock is ahead. Negative: arrived before the
    giver's attempt began. Zero: both could be right. hops: with the forest's kind, strength, gap and lead.
    """
    links = hops.filter(
        (C("kind") == "relay")
        & C("parent").is_not_null()
        & (C("strength") == "certain")
        & C("lead").is_not_null()
        & (C("first_seen") >= starts_at)
        & (C("first_seen") < ends_at)
    )
    off = pl.when(C("gap") > 0).then("gap").when(C("lead") > 0).then(-C("lead")).otherwise(0)
    return links.group_by("host", hour=C("first_seen") // HOUR_US * HOUR_US, skew_ms=off // MS).agg(
        links=pl.len().cast(pl.Int64)
    )


def find_skew(samples: list[pl.DataFrame]) -> pl.DataFrame:
    """host, hour (µs), skew_s: the median over the links of the hour."""
    if not samples:
        return pl.DataFrame(schema={"host": pl.String, "hour": pl.Int64, "skew_s": pl.Float64})
    by = ["host", "hour"]
    counted = pl.concat(samples).group_by(*by, "skew_ms").agg(C("links").sum()).sort(*by, "skew_ms")
    reached = counted.with_columns(below=C("links").cum_sum().over(by), all=C("links").sum().over(by))
    return (
        reached.filter(2 * C("below") >= C("all"))
        .unique(by, keep="first", maintain_order=True)
        .select(*by, skew_s=C("skew_ms") / 1000)
    )
