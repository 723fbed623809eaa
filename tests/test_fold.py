"""The doubled hour: where its second pass begins, told by stamps that step back or by what queue IDs prove."""

import base64
import gzip
from datetime import datetime, timezone
from pathlib import Path

import pytest

from hoptrace.pipeline.inputs import plan_inputs
from hoptrace.schemas.fleet import HOUR_US, Fleet, Host
from hoptrace.transforms.fold import DoubledHour, doubled_hours

DIGITS = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"
FLEET = Fleet(timezone="Europe/Copenhagen", hosts={"mx02": Host("mx02", timezone="UTC")})


def us(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=timezone.utc).timestamp()) * 1_000_000  # type: ignore[misc, arg-type]


def long_id(at_us: int) -> str:
    """A queue ID as Postfix makes it: global/mail_queue.h, MQID_LG_ENCODE_SEC and _USEC."""
    number, digits = at_us // 1_000_000, ""
    while number:
        number, digit = divmod(number, 52)
        digits = DIGITS[digit] + digits
    return f"{digits}0000z7sXv"


def folds(path: Path, *lines: str, span: tuple[int, int] = (us(2025, 10, 26), us(2025, 10, 27))) -> list[int | None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(line + "\n" for line in lines).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return [r.fold_at for r in plan_inputs([str(path)], FLEET, *span, 1 << 26)]


def syslog(*clocks: str, host: str = "mx01", text: str = "postfix/qmgr[1]: 5ED4A32: removed") -> list[str]:
    return [f"Oct 26 {clock} {host} {text}" for clock in clocks]


def test_doubled_hours() -> None:
    year = us(2025, 1, 1), us(2026, 1, 1)
    (hour,) = doubled_hours("Europe/Copenhagen", *year)
    assert hour == DoubledHour(us(2025, 10, 26, 2), HOUR_US, us(2025, 10, 26))
    (half,) = doubled_hours("Australia/Lord_Howe", *year)
    assert half == DoubledHour(us(2025, 4, 6, 1, 30), HOUR_US // 2, us(2025, 4, 5, 14, 30))
    assert doubled_hours("UTC", *year) == []
    assert doubled_hours("Europe/Copenhagen", us(2025, 10, 27), us(2026, 10, 24)) == []


@pytest.mark.parametrize("name", ["mail.log", "mail.log.1.gz"])
def test_a_step_back_begins_the_second_pass(tmp_path: Path, name: str) -> None:
    lines = syslog("01:59:00", "02:10:00", "02:59:58", "02:59:10", "02:00:01", "02:58:00", "03:10:00")
    assert folds(tmp_path / "mx01" / name, *lines) == [sum(len(line) + 1 for line in lines[:4])]


def test_exims_stamps_without_zone(tmp_path: Path) -> None:
    lines = [f"2025-10-26 {clock} Start queue run: pid=1" for clock in ("02:10:00", "02:50:00", "02:05:00")]
    assert folds(tmp_path / "relay01" / "mainlog", *lines) == [2 * (len(lines[0]) + 1)]


def test_stamps_that_need_no_fold(tmp_path: Path) -> None:
    lines = syslog("02:10:00", "02:59:58", "02:00:01")
    assert folds(tmp_path / "mx02" / "mail.log", *[line.replace("mx01", "mx02") for line in lines]) == [None]
    zoned = [f"2025-10-26T{clock}+02:00 mx01 postfix/qmgr[1]: x" for clock in ("02:10:00", "02:59:58", "02:00:01")]
    assert folds(tmp_path / "mx01" / "zoned.log", *zoned) == [None]
    later = us(2025, 10, 29), us(2025, 10, 30)
    assert folds(tmp_path / "mx01" / "mail.log", *lines, span=later) == [None]
    assert folds(tmp_path / "mx01" / "mail.log", *syslog("02:10:00", "02:30:00", "02:29:00")) == [None]
    other_day = [line.replace("Oct 26", "Oct 25") for line in lines]
    assert folds(tmp_path / "mx01" / "mail.log", *other_day) == [None]


def test_lines_of_a_host_in_another_zone_do_not_count(tmp_path: Path) -> None:
    lines = [*syslog("02:50:00"), *syslog("02:00:01", host="mx02"), *syslog("02:52:00"), *syslog("02:01:00")]
    assert folds(tmp_path / "central" / "all.log", *lines) == [sum(len(line) + 1 for line in lines[:3])]


def fresh(clock: str, at_us: int) -> str:
    return f"Oct 26 {clock} mx01 postfix/smtpd[1]: {long_id(at_us)}: client=a.test[192.0.2.1]"


def test_queue_ids_prove_the_pass_where_nothing_steps_back(tmp_path: Path) -> None:
    first = us(2025, 10, 26, 0, 10), us(2025, 10, 26, 0, 20)
    second = us(2025, 10, 26, 1, 30)
    path = tmp_path / "mx01" / "mail.log"
    early = syslog("01:00:00")
    length = len(early[0]) + 1
    assert folds(path, *early, fresh("02:10:01", first[0]), fresh("02:20:01", first[1])) == [None]
    assert folds(path, *early, *syslog("02:25:00"), fresh("02:30:01", second)) == [length]
    lines = [*early, fresh("02:20:01", first[1]), *syslog("02:20:02", "02:29:00"), fresh("02:30:01", second)]
    assert folds(path, *lines) == [sum(len(line) + 1 for line in lines[:3])]
    retry = f"Oct 26 02:30:01 mx01 postfix/smtp[1]: {long_id(first[0])}: to=<a@b.test>, delay=4801, dsn=4.4.1"
    assert folds(path, *early, retry) == [length]
    assert folds(path, *early, retry.replace("delay=4801", "delay=1201")) == [None]


REPLIES = {
    "postfix": "postfix/lmtp[1]: 5ED4A32: to=<a@b.test>, status=sent (250 2.0.0 Ok: queued as {postfix})",
    "exim": "postfix/smtp[1]: 5ED4A32: to=<a@b.test>, status=sent (250 OK id={exim})",
    "exim's own": "exim[1]: {exim} <= a@b.test H=c.test [192.0.2.1] P=esmtp S=100",
    "store": "postfix/lmtp[1]: 5ED4A32: to=<a@b.test>, status=sent (250 2.0.0 <a@b.test> {session} Saved)",
    "store's own": "dovecot: lmtp(a@b.test)<27797><{session}:R2>: save: box=INBOX, uid=13",
}


@pytest.mark.parametrize("text", REPLIES.values(), ids=list(REPLIES))
@pytest.mark.parametrize("second", [False, True])
def test_what_was_just_made_proves_the_pass(tmp_path: Path, text: str, second: bool) -> None:
    at = us(2025, 10, 26, 1 if second else 0, 30)
    base_62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    exim = "".join(base_62[at // 1_000_000 // 62**place % 62] for place in range(5, -1, -1)) + "-0005Py-0L"
    session = base64.b64encode(b"n" * 4 + (at // 1_000_000).to_bytes(4, "little") + b"p" * 8).decode()[:22]
    made = text.format(postfix=long_id(at), exim=exim, session=session)
    before, after = syslog("01:20:00", "01:59:00", "02:00:00"), syslog("02:31:00", "04:10:00")
    lines = [*before, f"Oct 26 02:30:01 mx01 {made}", *after]
    fold = sum(len(line) + 1 for line in lines[:3])
    assert folds(tmp_path / "mx01" / "mail.log", *lines) == [fold if second else None]


def test_a_small_step_back_begins_the_second_pass(tmp_path: Path) -> None:
    lines = syslog("01:59:00", "02:10:00", "02:45:58", "02:20:10", "02:58:00", "03:10:00")
    assert folds(tmp_path / "mx01" / "mail.log", *lines) == [sum(len(line) + 1 for line in lines[:3])]


def test_where_nothing_tells_the_longest_pause_is_an_hour_longer(tmp_path: Path) -> None:
    lines = syslog("01:10:00", "02:40:58", "02:58:10", "03:10:00")
    assert folds(tmp_path / "mx01" / "mail.log", *lines) == [len(lines[0]) + 1]
    lines = syslog("01:59:00", "02:10:58", "02:18:10", "03:10:00")
    assert folds(tmp_path / "mx01" / "mail.log", *lines) == [None]
