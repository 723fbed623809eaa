"""Hot keys: what meets a hundred thousand times makes neither a cross product nor a long wait."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import polars as pl

from hoptrace.schemas.events import EVENTS
from hoptrace.transforms.publishable import NightTables
from tests.made import FLEET, READ, T0, from_host, night_of
from tests.plain import run_plain

MANY = 100_000
SECONDS = 60.0
"""Far above what these take (a few seconds), far below what a cross product would."""

NIGHT = night_of(-10, 80_000)


@contextmanager
def in_time() -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < SECONDS


def column(kind: str, **columns: object) -> pl.DataFrame:
    """MANY events of a kind, one each 100 ms; a column is an expression or one value."""
    numbered = pl.DataFrame({"n": range(MANY)}, schema={"n": pl.Int64})
    values = {name: value if isinstance(value, pl.Expr) else pl.lit(value) for name, value in columns.items()}
    return EVENTS.conform(
        numbered.select(
            **{
                "stamp": T0 + pl.col("n") * 100_000,
                "place": "n",
                "kind": pl.lit(kind),
                "instance": pl.lit("postfix"),
                "repeat": pl.lit(1),
                **values,
            }
        )
    )


def named(prefix: str) -> pl.Expr:
    return pl.format(prefix + "{}", pl.col("n"))


def run(*frames: pl.DataFrame) -> NightTables:
    with in_time():
        return run_plain(pl.concat(frames), FLEET, NIGHT, READ)


def test_one_queue_id_with_many_recipients() -> None:
    told = run(
        column("arrive", host="smtp1", queue_id="ABCDE1", arrival="smtp", client_ip="192.0.2.1").head(1),
        column("message", host="smtp1", queue_id="ABCDE1", message_id="m@far.test").head(1),
        column("queue", host="smtp1", queue_id="ABCDE1", sender="a@far.test", nrcpt=MANY).head(1),
        column(
            "attempt",
            host="smtp1",
            queue_id="ABCDE1",
            recipient=named("b") + "@far.test",
            status="sent",
            reply="250 ok: queued as ABCDE2",
            next_queue_id="ABCDE2",
            relay_name="out1.our.test",
            relay_ip="10.0.0.3",
        ),
        column("arrive", host="out1", queue_id="ABCDE2", arrival="smtp", **from_host("smtp1")).head(1),
        column("message", host="out1", queue_id="ABCDE2", message_id="m@far.test").head(1),
        column("queue", host="out1", queue_id="ABCDE2", sender="a@far.test", nrcpt=MANY).head(1),
        column(
            "attempt",
            host="out1",
            queue_id="ABCDE2",
            recipient=named("b") + "@far.test",
            status="sent",
            reply="250 ok",
            relay_name="far.test",
        ),
    )
    rows = told.tables["deliveries"]
    assert rows.height == MANY
    assert rows["path"].unique().to_list() == [["smtp1", "out1"]]


def test_one_message_id_on_many_mails() -> None:
    """Handed over without a queue ID, so that only the Message-ID could tell which is which."""
    told = run(
        column("arrive", host="smtp1", queue_id=named("A"), arrival="smtp", client_ip="192.0.2.1"),
        column("message", host="smtp1", queue_id=named("A"), message_id="same@far.test"),
        column(
            "attempt",
            host="smtp1",
            queue_id=named("A"),
            recipient="b@far.test",
            status="sent",
            reply="250 ok",
            relay_name="out1.our.test",
            relay_ip="10.0.0.3",
        ),
        column("arrive", host="out1", queue_id=named("B"), arrival="smtp", **from_host("smtp1")),
        column("message", host="out1", queue_id=named("B"), message_id="same@far.test"),
        column(
            "attempt",
            host="out1",
            queue_id=named("B"),
            recipient="b@far.test",
            status="sent",
            reply="250 ok",
            relay_name="far.test",
        ),
    )
    assert sum(told.tables[name].height for name in ("deliveries", "open")) >= MANY


def test_one_mail_handed_over_many_times_without_queue_ids() -> None:
    """A list whose every member is a mail of its own at the next host, where no reply names the queue ID."""
    told = run(
        column("arrive", host="smtp1", queue_id="ABCDE1", arrival="smtp", client_ip="192.0.2.1").head(1),
        column("message", host="smtp1", queue_id="ABCDE1", message_id="m@far.test").head(1),
        column("queue", host="smtp1", queue_id="ABCDE1", sender="a@far.test", nrcpt=MANY).head(1),
        column(
            "attempt",
            host="smtp1",
            queue_id="ABCDE1",
            recipient=named("b") + "@far.test",
            status="sent",
            reply="250 ok",
            relay_name="out1.our.test",
            relay_ip="10.0.0.3",
        ),
        column("arrive", host="out1", queue_id=named("B"), arrival="smtp", **from_host("smtp1")),
        column("message", host="out1", queue_id=named("B"), message_id="m@far.test"),
        column("queue", host="out1", queue_id=named("B"), sender="a@far.test", nrcpt=1),
        column(
            "attempt",
            host="out1",
            queue_id=named("B"),
            recipient=named("b") + "@far.test",
            status="sent",
            reply="250 ok",
            relay_name="far.test",
        ),
    )
    rows = told.tables["deliveries"]
    assert (rows.height, rows["recipient"].n_unique()) == (MANY, MANY)
    assert rows["path"].unique().to_list() == [["smtp1", "out1"]]


def test_one_next_queue_id_on_many_mails() -> None:
    """A server that answers 'queued as 0' to everything, which is the queue ID of many of our mails too."""
    told = run(
        column("arrive", host="smtp1", queue_id=named("A"), arrival="smtp", client_ip="192.0.2.1"),
        column(
            "attempt",
            host="smtp1",
            queue_id=named("A"),
            recipient="b@far.test",
            status="sent",
            reply="250 ok: queued as 0",
            next_queue_id="0",
            relay_name="far.test",
            relay_ip="192.0.2.7",
        ),
        column("arrive", host="out1", queue_id="0", arrival="smtp", client_ip="192.0.2.1"),
        column(
            "attempt",
            host="out1",
            queue_id="0",
            recipient="c@far.test",
            status="sent",
            reply="250 ok",
            relay_name="far.test",
        ),
    )
    assert told.tables["deliveries"].height >= MANY


def test_one_pair_of_correspondents_at_the_door() -> None:
    told = run(
        column(
            "door",
            host="mx1",
            sender="a@far.test",
            recipient="b@our.test",
            client_ip="192.0.2.1",
            client_name="unknown",
            code=450,
            dsn="4.7.1",
            reply="450 4.7.1 later",
        )
    )
    assert told.tables["open"]["attempts"].to_list() == [MANY]


def test_one_message_id_scanned_and_sent_by_many() -> None:
    told = run(
        column("arrive", host="smtp1", queue_id=named("S"), arrival="smtp", client_ip="192.0.2.1"),
        column("message", host="smtp1", queue_id=named("S"), message_id="m@far.test"),
        column("queue", host="smtp1", queue_id=named("S"), sender="a@far.test", nrcpt=1),
        column("attempt", host="smtp1", queue_id=named("S"), recipient="b@far.test", status="sent", reply="250 ok"),
        column(
            "filter",
            host="smtp1",
            instance="spamd",
            message_id="m@far.test",
            action="spam",
            score=pl.col("n").cast(float),
        ),
    )
    assert told.tables["deliveries"].height == MANY
    assert told.tables["deliveries"]["spam_score"].sort().to_list() == list(range(MANY))
