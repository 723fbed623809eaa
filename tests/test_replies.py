"""What the words behind a status mean."""

import polars as pl
import pytest

from hoptrace.transforms.replies import judge_reply, mask_reply

LOST = "lost connection with mx.dupe.test[10.77.1.26] while sending end of data -- message may be sent more than once"

CASES: dict[str, tuple[str, str | None, str | None, tuple[str, str | None, bool]]] = {
    # status, dsn, reply; status, dsn, unsure after it was judged
    "sent": ("sent", "2.0.0", "250 2.0.0 Ok: queued as 4dj3896Q2Lz11B", ("sent", "2.0.0", False)),
    "amavis dropped it": ("sent", "2.7.0", "250 2.7.0 Ok, discarded, id=15303-02 - spam", ("discarded", "2.7.0", False)),
    "amavis kept it": (
        "sent", None, "250 2.7.0 Ok, discarded, quarantined, id=15303-02", ("quarantined", "2.7.0", False),
    ),
    "a stranger says discarded later on": ("sent", "2.0.0", "250 ok we never discarded", ("sent", "2.0.0", False)),
    "the reply has the code": ("bounced", None, "550 5.1.1 user unknown", ("bounced", "5.1.1", False)),
    "the line's code counts": ("bounced", "5.0.0", "550 5.1.1 user unknown", ("bounced", "5.0.0", False)),
    "postfix lost the answer": ("deferred", "4.4.2", LOST, ("deferred", "4.4.2", True)),
    "exim lost the answer": (
        "deferred", None, "Remote host closed connection in response to end of data", ("deferred", None, True),
    ),
    "exim waited for the answer": (
        "deferred", None, "SMTP timeout after end of data (1234 bytes written): Connection timed out",
        ("deferred", None, True),
    ),
    "an answer to the data": (
        "deferred", "4.3.2", "SMTP error from remote mail server after end of data: 451 4.3.2 Please try again later",
        ("deferred", "4.3.2", False),
    ),
    "lost before the data": (
        "deferred", "4.4.2", "lost connection with mx.far.test[192.0.2.9] while sending RCPT TO",
        ("deferred", "4.4.2", False),
    ),
    "a host that took it and says so": ("sent", "2.0.0", f"250 {LOST}", ("sent", "2.0.0", False)),
    "no words": ("deferred", None, None, ("deferred", None, False)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_judge_reply(name: str) -> None:
    status, dsn, reply, expected = CASES[name]
    schema = dict.fromkeys(("status", "dsn", "reply"), pl.String)
    rows = pl.DataFrame({"status": [status], "dsn": [dsn], "reply": [reply]}, schema=schema)
    judged = judge_reply(rows)
    assert judged.select("status", "dsn", "unsure").row(0) == expected
    assert (judged["cause"].item() is None) == (expected[0] == "sent")


def test_rows_keep_their_order_and_their_own_words() -> None:
    rows = pl.DataFrame({"status": ["sent", "deferred", "bounced", "deferred"], "dsn": [None, None, "5.1.1", None],
                         "reply": ["250 ok", LOST, "550 5.1.1 user unknown", None]})  # fmt: skip
    judged = judge_reply(rows)
    assert judged["unsure"].to_list() == [False, True, False, False]
    assert judged["reply"].to_list() == rows["reply"].to_list()
    assert judge_reply(rows.reverse()).reverse().equals(judged)
    assert judge_reply(rows.clear()).columns == judged.columns


def test_masks_leave_few_texts() -> None:
    replies = [
        f"host mx{n}.far.test[192.0.2.{n}] said: 451 <b{n}@our.test> try later, id 4dj3893npLzC{n}" for n in range(9)
    ]
    said = pl.DataFrame({"r": replies})
    assert said.select(mask_reply(pl.col("r"))).to_series().n_unique() == 1
