"""Which host of ours a log means by a name or an address."""

import polars as pl

from hoptrace.schemas.fleet import Fleet

C = pl.col
SELF = ("127.0.0.1", "::1", "localhost")


def host_of(name: str | None, ip: str | None, fleet: Fleet, hosts: frozenset[str]) -> str | None:
    """The host of ours that a log calls `name` or `ip`; 'self' for the loopback; None for strangers."""
    known = fleet.names()
    for text in (name, ip):
        if text and text.lower() in known:
            return known[text.lower()]
    for text in (ip, name):
        if text in SELF:
            return "self"
    if name and not fleet.hosts and name.split(".", 1)[0].lower() in hosts:
        return name.split(".", 1)[0].lower()
    return None


def name_hosts(
    frame: pl.DataFrame, name: str, ip: str, own: str, out: str, fleet: Fleet, hosts: frozenset[str]
) -> pl.DataFrame:
    """`frame` with column `out`: the host of ours behind columns `name` and `ip`, the row's `own` host for the loopback."""
    pairs = frame.select(name, ip).unique()
    found = [host_of(a, b, fleet, hosts) for a, b in pairs.iter_rows()]
    named = pairs.with_columns(pl.Series("_host", found, pl.String))
    joined = frame.join(named, on=[name, ip], how="left", nulls_equal=True, maintain_order="left")
    return joined.with_columns(
        pl.when(C("_host") == "self").then(C(own)).otherwise("_host").alias(out),
        (C("_host") == "self").alias("loopback"),
    ).drop("_host")
