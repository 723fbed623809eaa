"""Which host of ours a log means."""

import polars as pl
import pytest

from hoptrace.schemas.fleet import Fleet
from hoptrace.transforms.names import host_of, name_hosts
from tests.made import FLEET

HOSTS = frozenset({"mx1", "smtp1"})
CASES = [
    ("smtp1.our.test", None, FLEET, "smtp1"),
    ("SMTP1.our.test", "192.0.2.1", FLEET, "smtp1"),
    ("unknown", "10.0.0.2", FLEET, "smtp1"),
    ("smtp1.far.test", "192.0.2.1", FLEET, None),
    ("127.0.0.1", "127.0.0.1", FLEET, "self"),
    ("localhost", None, FLEET, "self"),
    (None, "::1", FLEET, "self"),
    (None, None, FLEET, None),
    ("", "", FLEET, None),
    ("mx1.anywhere.test", "192.0.2.1", Fleet(), "mx1"),
    ("mx9.anywhere.test", "192.0.2.1", Fleet(), None),
]


@pytest.mark.parametrize(("name", "address", "fleet", "host"), CASES)
def test_hosts(name: str | None, address: str | None, fleet: Fleet, host: str | None) -> None:
    rows = pl.DataFrame({"name": [name], "ip": [address]}, schema={"name": pl.String, "ip": pl.String})
    assert rows.select(host_of("name", "ip", fleet, HOSTS)).item() == host


def test_rows_keep_their_order_and_number() -> None:
    rows = pl.DataFrame(
        [("a", "smtp1.our.test", "10.0.0.2"), ("b", None, None), ("c", "localhost", "127.0.0.1"), ("d", None, None)],
        schema={"own": pl.String, "name": pl.String, "ip": pl.String},
        orient="row",
    )
    named = name_hosts(rows, "name", "ip", "own", "found", FLEET, HOSTS)
    assert named.select("own", "found", "loopback").rows() == [
        ("a", "smtp1", False),
        ("b", None, None),
        ("c", "c", True),
        ("d", None, None),
    ]
    assert name_hosts(rows.clear(), "name", "ip", "own", "found", FLEET, HOSTS).columns == [
        *rows.columns,
        "found",
        "loopback",
    ]
