"""Which host of ours a log means by a name or an address."""

import polars as pl

from hoptrace.schemas.fleet import Fleet

C = pl.col
SELF = ("127.0.0.1", "::1", "localhost")


def host_of(name: str, ip: str, fleet: Fleet, hosts: frozenset[str]) -> pl.Expr:
    """The host of ours that a log calls by columns `name` or `ip`; 'self' for the loopback; null for strangers."""
    known = fleet.names()
    called = C(name).str.to_lowercase()
    told = [
        text.replace_strict(known, default=None, return_dtype=pl.String) for text in (called, C(ip).str.to_lowercase())
    ]
    label = C(name).str.split(".").list.first().str.to_lowercase()
    itself = C(ip).is_in(SELF).fill_null(False) | C(name).is_in(SELF).fill_null(False)
    by_label = [] if fleet.hosts else [pl.when(label.is_in(list(hosts))).then(label)]
    return pl.coalesce(*(told if known else []), pl.when(itself).then(pl.lit("self")), *by_label)


def name_hosts(
    frame: pl.DataFrame, name: str, ip: str, own: str, out: str, fleet: Fleet, hosts: frozenset[str]
) -> pl.DataFrame:
    """`frame` with column `out`: the host of ours behind columns `name` and `ip`, the row's `own` host for the loopback; and
    `loopback`, whether it is that."""
    named = frame.with_columns(_host=host_of(name, ip, fleet, hosts))
    itself = C("_host") == "self"
    return named.with_columns(pl.when(itself).then(C(own)).otherwise("_host").alias(out), loopback=itself).drop("_host")
