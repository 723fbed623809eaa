"""Walks from the entrance to every recipient's last stay."""

import polars as pl
import pytest

from hoptrace.schemas.handoffs import HANDOFFS
from hoptrace.transforms.meet import PAIRS_PER_ROW
from hoptrace.transforms.traces import MAX_STAYS, pair_up, walk
from tests.made import FLEET, READ, Row, came, event, frame, from_host, handed, left, lost, night_of, tried
from tests.plain import run_plain

C = pl.col
MID = "m@far.test"


def trace(*parts: list[Row]) -> dict[str, pl.DataFrame]:
    """The tables of one night."""
    events = frame([row for part in parts for row in part])
    return run_plain(events, FLEET, night_of(-10, 200_000, cold_start=False), READ).tables


def fates(tables: dict[str, pl.DataFrame]) -> list[tuple[str | None, str, str]]:
    """recipient, path, outcome of every row, settled or open."""
    rows = pl.concat([tables[name].select("recipient", "path", "outcome") for name in ("deliveries", "open")])
    return sorted((a, ">".join(b), c) for a, b, c in rows.iter_rows())


def given(recipient: str, **more: object) -> Row:
    """An attempt of A at smtp1 that out1 took without naming a queue ID."""
    relay = {"relay_name": "out1.our.test", "relay_ip": "10.0.0.3", "reply": "250 ok", **more}
    return tried(5, "smtp1", "AAAAA1", recipient, **relay)  # type: ignore[arg-type]


def taken(queue_id: str, *recipients: str, **more: str) -> list[Row]:
    rows = [tried(9, "out1", queue_id, recipient, **more) for recipient in recipients]  # type: ignore[arg-type]
    begin = came(4, "out1", queue_id, MID, nrcpt=max(1, len(recipients)), **from_host("smtp1"))
    return [*begin, *rows, left(10, "out1", queue_id)]


FIRST = came(0, "smtp1", "AAAAA1", MID, nrcpt=2)
END = [left(6, "smtp1", "AAAAA1")]
CASES: dict[str, tuple[list[Row], list[tuple[str | None, str, str]]]] = {
    "each in a mail of its own": (
        [*FIRST, given("b@far.test"), given("c@far.test"), *END, *taken("BBBBB1", "b@far.test"), *taken("BBBBB2", "c@far.test")],
        [("b@far.test", "smtp1>out1", "delivered"), ("c@far.test", "smtp1>out1", "delivered")],
    ),
    "both in one": (
        [*FIRST, given("b@far.test"), given("c@far.test"), *END, *taken("BBBBB1", "b@far.test", "c@far.test")],
        [("b@far.test", "smtp1>out1", "delivered"), ("c@far.test", "smtp1>out1", "delivered")],
    ),
    "one of them goes to a stranger, who names a queue ID": (
        [*FIRST, given("b@far.test"), tried(5, "smtp1", "AAAAA1", "c@far.test", reply="250 queued as ZZZZZ1", next_queue_id="ZZZZZ1"),
         *END, *taken("BBBBB1", "b@far.test")],
        [("b@far.test", "smtp1>out1", "delivered"), ("c@far.test", "smtp1", "delivered")],
    ),
    "rewritten on the way": (
        [*FIRST[:2], handed(5, "smtp1", "AAAAA1", "info@far.test", "out1", "BBBBB1"), *END, *taken("BBBBB1", "b@far.test")],
        [("b@far.test", "smtp1>out1", "delivered")],
    ),
    "not named where it is now": (
        [*FIRST[:2], handed(5, "smtp1", "AAAAA1", "b@far.test", "out1", "BBBBB1"), *END,
         *came(4, "out1", "BBBBB1", MID, **from_host("smtp1"))],
        [("b@far.test", "smtp1>out1", "queued")],
    ),
    "named nowhere": (came(0, "smtp1", "AAAAA1", MID, nrcpt=3), [(None, "smtp1", "queued")]),
    "one of two refused": (
        [*FIRST, tried(5, "smtp1", "AAAAA1", "b@far.test", "bounced"), given("c@far.test"), *END, *taken("BBBBB1", "c@far.test")],
        [("b@far.test", "smtp1", "bounced"), ("c@far.test", "smtp1>out1", "delivered")],
    ),
    "a probe is no mail": (
        [*came(0, "smtp1", "AAAAA1", None), tried(5, "smtp1", "AAAAA1", "b@far.test", "deliverable"), *END], [],
    ),
    "a copy of a try that failed in the end": (
        [*FIRST[:2], lost(5, "smtp1", "AAAAA1", "b@far.test", "out1"), *taken("BBBBB1", "b@far.test"),
         tried(4000, "smtp1", "AAAAA1", "b@far.test", "bounced"), left(4001, "smtp1", "AAAAA1")],
        [("b@far.test", "smtp1>out1", "delivered")],
    ),
    "a copy that failed, of a mail that waits": (
        [*FIRST[:2], lost(5, "smtp1", "AAAAA1", "b@far.test", "out1"), *taken("BBBBB1", "b@far.test", status="bounced")],
        [("b@far.test", "smtp1", "queued")],
    ),
    "a copy of which nothing is seen": (
        [*FIRST[:2], lost(5, "smtp1", "AAAAA1", "b@far.test", "out1")], [("b@far.test", "smtp1", "queued")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_fates(name: str) -> None:
    rows, expected = CASES[name]
    assert fates(trace(rows)) == expected


def answered(second: float, host: str, queue_id: str, recipient: str, named: str) -> Row:
    """An attempt that a stranger's server took, and answered with a queue ID of its choice."""
    far = {"relay_name": "mx.else.example", "relay_ip": "192.0.2.77"}
    return tried(
        second, host, queue_id, recipient, reply=f"250 2.0.0 Ok: queued as {named}", next_queue_id=named, **far
    )


STRANGERS: dict[str, tuple[list[Row], list[tuple[str | None, str, str]]]] = {
    "the ID of the hop itself": (
        [*came(0, "smtp1", "AAAAA1", MID), answered(5, "smtp1", "AAAAA1", "b@far.test", "AAAAA1"), *END],
        [("b@far.test", "smtp1", "delivered")],
    ),
    "the ID of another mail of ours": (
        [*came(0, "smtp1", "AAAAA1", MID), answered(5, "smtp1", "AAAAA1", "b@far.test", "BBBBB1"), *END,
         *came(4, "out1", "BBBBB1", "other@far.test"), tried(9, "out1", "BBBBB1", "c@far.test"), left(10, "out1", "BBBBB1")],
        [("b@far.test", "smtp1", "delivered"), ("c@far.test", "out1", "delivered")],
    ),
    "the ID of another mail with the same Message-ID and recipient, that it brought itself": (
        [*came(0, "smtp1", "AAAAA1", MID), answered(5, "smtp1", "AAAAA1", "b@far.test", "BBBBB1"), *END,
         *came(4, "out1", "BBBBB1", MID), tried(9, "out1", "BBBBB1", "b@far.test"), left(10, "out1", "BBBBB1")],
        [("b@far.test", "out1", "delivered"), ("b@far.test", "smtp1", "delivered")],
    ),
    "two mails on two hosts, each with the other's ID": (
        [*came(0, "smtp1", "AAAAA1", MID), answered(5, "smtp1", "AAAAA1", "b@far.test", "BBBBB1"), *END,
         *came(0, "out1", "BBBBB1", MID), answered(5, "out1", "BBBBB1", "c@far.test", "AAAAA1"), left(10, "out1", "BBBBB1")],
        [("b@far.test", "smtp1", "delivered"), ("c@far.test", "out1", "delivered")],
    ),
    "two mails on one host, each with the other's ID": (
        [*came(0, "smtp1", "AAAAA1", MID), answered(5, "smtp1", "AAAAA1", "b@far.test", "AAAAA2"), *END,
         *came(0, "smtp1", "AAAAA2", MID), answered(5, "smtp1", "AAAAA2", "c@far.test", "AAAAA1"), left(10, "smtp1", "AAAAA2")],
        [("b@far.test", "smtp1", "delivered"), ("c@far.test", "smtp1", "delivered")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STRANGERS)
def test_a_stranger_who_names_our_queue_ids(name: str) -> None:
    """Makes no link and no cycle: the mail was delivered outside."""
    rows, expected = STRANGERS[name]
    tables = trace(rows)
    assert sorted(fates(tables)) == expected
    assert tables["handoffs"].is_empty()


def test_a_list_and_its_members() -> None:
    """The alias is the recipient as asked for; the members are those of the mail that it made."""
    tables = trace(
        came(0, "mx1", "AAAAA1", MID),
        [event(1, "mx1", "BBBBB1", "message", message_id=MID), event(1.1, "mx1", "BBBBB1", "queue", sender="o@our.test", nrcpt=2)],
        [tried(2, "mx1", "AAAAA1", "l@our.test", next_queue_id="BBBBB1", reply="forwarded as BBBBB1", relay_name="local")],
        [left(3, "mx1", "AAAAA1"), *(tried(4, "mx1", "BBBBB1", to) for to in ("b@far.test", "c@far.test")), left(5, "mx1", "BBBBB1")],
    )  # fmt: skip
    rows = tables["deliveries"].sort("recipient")
    assert rows.select("original_recipient", "recipient", "sender").rows() == [
        ("l@our.test", to, "a@far.test") for to in ("b@far.test", "c@far.test")
    ]
    assert HANDOFFS.conform(tables["handoffs"]).select("kind", "recipient", "late", "duplicate").rows() == [
        ("forward", "l@our.test", False, False)
    ]


@pytest.mark.parametrize("stays", [1, MAX_STAYS - 1, MAX_STAYS, MAX_STAYS + 9])
def test_a_mail_loop_is_cut(stays: int) -> None:
    up = pl.DataFrame({"row": range(1, stays), "up": range(stays - 1)}, schema={"row": pl.UInt32, "up": pl.UInt32})
    told = walk(stays, up, pl.Series([stays - 1], dtype=pl.UInt32))
    assert told["row"].to_list() == list(range(stays - 1, -1, -1))[:MAX_STAYS]
    assert told["step"].to_list() == list(range(min(stays, MAX_STAYS)))


@pytest.mark.parametrize("many", [3, 2 * PAIRS_PER_ROW + 10])
def test_rows_and_children_are_paired_by_address_where_they_are_many(many: int) -> None:
    """Row n has address n; child n shows it. One row more that no child shows, and one child more that shows nothing."""
    one = {"hop": pl.lit(1, pl.UInt64), "way": pl.lit("on")}
    addresses = [f"b{n}" for n in range(many + 1)]
    given = pl.DataFrame(
        {"row": range(many + 1), "address": addresses}, schema={"row": pl.UInt32, "address": pl.String}
    ).with_columns(**one)
    children = pl.DataFrame({"child": range(100, 101 + many)}, schema={"child": pl.UInt64}).with_columns(**one)
    shown = pl.DataFrame(
        {"hop": range(100, 100 + many), "address": addresses[:-1]}, schema={"hop": pl.UInt64, "address": pl.String}
    )
    pairs = set(pair_up(given, children, shown.with_columns(asked="address")).select("child", "row").iter_rows())
    own = {(100 + n, n) for n in range(many)} | {(100, many), (100 + many, 0)}
    assert own <= pairs
    assert len(pairs) == ((many + 1) ** 2 if many == 3 else many + 2)
