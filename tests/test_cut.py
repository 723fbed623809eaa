"""Heads of lines: what is host, program, process ID and text in every form of header."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoptrace.transforms.columns import valid_utf8
from hoptrace.transforms.cut import (
    CONTINUED,
    LOCAL,
    NO_STAMP,
    OWN_DATED,
    OWN_EXIM,
    OWN_YEARLESS,
    SYSLOG,
    UTC,
    YEARLESS,
    Heads,
    cut_heads,
    line_ends,
)
from hoptrace.transforms.jit import cache_folder

EXIM, EXIM_OLD = "1vrbVs-0000000001X-2abc", "1vb0Qh-0004mx-1J"


def one(line: str) -> tuple[str | None, tuple[int, str] | None, int, str]:
    data = line.encode() + b"\n"
    heads = cut_heads(data)
    host = heads.hosts[heads.host[0]].decode() if heads.host[0] >= 0 else None
    tag = heads.tags[heads.tag[0]] if heads.tag[0] >= 0 else None
    text = data[heads.texts[0] : heads.text_ends[0]].decode()
    return host, tag and (tag[0], tag[1].decode()), int(heads.pid[0]), text


@pytest.mark.parametrize(
    ("line", "host", "tag", "pid", "text"),
    [
        ("Jan  2 02:22:43 mx01 postfix/qmgr[17]: 4dd: removed", "mx01", (SYSLOG, "postfix/qmgr"), 17, "4dd: removed"),
        ("Jan  2 02:22:43 mx01 kernel: hi  ", "mx01", (SYSLOG, "kernel"), -1, "hi"),
        ("Jan  2 02:22:43 mx01 postfix/qmgr[17]:", "mx01", (SYSLOG, "postfix/qmgr"), 17, ""),
        ("Jan  2 02:22:43 mx01 last message repeated 3 times", "mx01", None, -1, "last message repeated 3 times"),
        ("Jan  2 02:22:43 postfix/qmgr[17]: x", None, (SYSLOG, "postfix/qmgr"), 17, "x"),
        ("Jan  2 02:22:43 mx01", None, (OWN_YEARLESS, ""), -1, "mx01"),
        ("Jan  2 02:22:43 ::1 a[x]: t", "::1", (SYSLOG, "a"), -1, "t"),
        ("Dec 27 21:40:04 master: Info: hi", None, (OWN_YEARLESS, "master"), -1, "master: Info: hi"),
        ("Dec 27 21:40:04 lmtp(a@b)<1><c>: Info: x", None, (OWN_YEARLESS, "lmtp"), -1, "lmtp(a@b)<1><c>: Info: x"),
        ("2025-12-27 21:40:04 imap-login: Info: x", None, (OWN_DATED, "imap-login"), -1, "imap-login: Info: x"),
        ("2026-01-03 00:12:19 Start queue run: pid=2", None, (OWN_DATED, ""), -1, "Start queue run: pid=2"),
        ("2026-01-03 00:12:19 store01 dovecot: imap: x", "store01", (SYSLOG, "dovecot"), -1, "imap: x"),
        ("2026-01-03 00:12:19 mx01 postfix/smtpd[7]: x", "mx01", (SYSLOG, "postfix/smtpd"), 7, "x"),
        (f"2026-01-03 00:12:19 {EXIM} <= a@b", None, (OWN_EXIM, ""), -1, f"{EXIM} <= a@b"),
        (f"2026-01-03 00:12:19 +0100 [99] {EXIM_OLD} Completed", None, (OWN_EXIM, ""), 99, f"{EXIM_OLD} Completed"),
        (f"2026-01-03 00:12:19.123 {EXIM_OLD} H=[1.2.3.4]: x", None, (OWN_EXIM, ""), -1, f"{EXIM_OLD} H=[1.2.3.4]: x"),
        ("2026-01-03 00:12:19 pid 12: SIGHUP received", None, (OWN_DATED, ""), -1, "pid 12: SIGHUP received"),
        ("2026-01-02T06:28:31.7+00:00 mx01 a/b/c[5]: x: y", "mx01", (SYSLOG, "a/b/c"), 5, "x: y"),
        ("<22>1 2026-01-02T06:28:31Z mx03 postfix 207 - -  x", "mx03", (SYSLOG, "postfix"), 207, "x"),
        ("<22>1 2026-01-02T06:28:31Z mx03 postfix/smtpd 207 - - x", "mx03", (SYSLOG, "postfix/smtpd"), 207, "x"),
        ('<22>1 2026-01-02T06:28:31Z - - - - [a b="c\\]]"][d] x', None, None, -1, "x"),
        ("<22>1 2026-01-02T06:28:31Z mx03 a - - - \ufeffx", "mx03", (SYSLOG, "a"), -1, "x"),
        ("no head", None, None, -1, "no head"),
        (f"Jan  2 02:22:43 mx01 exim[7]: {EXIM} <= a@b", "mx01", (SYSLOG, "exim"), 7, f"{EXIM} <= a@b"),
        (f"Jan  2 02:22:43 mx01 exim[7]: 2026-01-02 02:22:43 {EXIM} x", "mx01", (SYSLOG, "exim"), 7, f"{EXIM} x"),
        (f"Jan  2 02:22:43 h exim: 2026-01-02 02:22:43.1 +0100 [7] {EXIM} x", "h", (SYSLOG, "exim"), -1, f"{EXIM} x"),
        (f"Jan  2 02:22:43 mx01 exim[7]: [1/3] {EXIM} <= a@b T=", "mx01", (SYSLOG, "exim"), 7, f"{EXIM} <= a@b T="),
        ("Jan  2 02:22:43 mx01 exim[7]: [1\\18] [7] H=x [1.2.3.4] y", "mx01", (SYSLOG, "exim"), 7, "H=x [1.2.3.4] y"),
        ("Jan  2 02:22:43 mx01 exim[7]: [2/3] the rest", "mx01", (SYSLOG, "exim"), 7, "[2/3] the rest"),
        ("Jan  2 02:22:43 mx01 exim[7]: [1.2.3.4] x", "mx01", (SYSLOG, "exim"), 7, "[1.2.3.4] x"),
        ("Jan  2 02:22:43 mx01 x[7]: 2026-01-02 02:22:43 x", "mx01", (SYSLOG, "x"), 7, "2026-01-02 02:22:43 x"),
        ("Jan  2 02:22:43 <mail.info> mx01 sm-mta[7]: x", "mx01", (SYSLOG, "sm-mta"), 7, "x"),
        ("Jan  2 02:22:43 mx01 sendmail[7]: [ID 801593 mail.info] x", "mx01", (SYSLOG, "sendmail"), 7, "x"),
        ("Envelope-from: <a@b>", None, (CONTINUED, ""), -1, "Envelope-from: <a@b>"),
        ("P Received: from a", None, (CONTINUED, ""), -1, "P Received: from a"),
        ("\tby b", None, (CONTINUED, ""), -1, "\tby b"),
        ("250 OK", None, None, -1, "250 OK"),
    ],
)
def test_heads(line: str, host: str | None, tag: tuple[int, str] | None, pid: int, text: str) -> None:
    assert one(line) == (host, tag, pid, text)
    assert one(line + "\r") == (host, tag, pid, text)


@pytest.mark.parametrize(
    ("own", "form", "told"),
    [
        ("", YEARLESS, None),
        ("2026-01-02 02:22:43 ", LOCAL, 1_767_320_563_000_000),
        ("2026-01-02 02:22:43.5 +0100 ", UTC, 1_767_316_963_500_000),
    ],
)
def test_exims_own_stamp_counts_where_syslogs_has_no_year(own: str, form: int, told: int | None) -> None:
    heads = cut_heads(f"Jan  2 02:22:43 mx01 exim[7]: {own}{EXIM} Completed\n".encode())
    assert heads.form[0] == form
    assert told in (None, int(heads.stamp[0]))
    precise = cut_heads(f"2026-01-02T02:22:43.250000+01:00 mx01 exim[7]: {own}{EXIM} Completed\n".encode())
    assert (precise.form[0], int(precise.stamp[0])) == (UTC, 1_767_316_963_250_000)


def test_codes_hold_beyond_the_first_tables() -> None:
    hosts = [f"host{n % 700}" for n in range(3000)]
    tags = [f"tag{n % 900}" for n in range(3000)]
    data = "".join(f"Jan  2 02:22:43 {h} {t}[1]: x\n" for h, t in zip(hosts, tags)).encode()
    heads = cut_heads(data)
    assert [heads.hosts[code].decode() for code in heads.host] == hosts
    assert [heads.tags[code][1].decode() for code in heads.tag] == tags
    assert len(heads.hosts) == 700
    assert len(heads.tags) == 900


PIECES = st.sampled_from(
    [b"Jan  2 02:22:43 ", b"2026-01-02T06:28:31Z ", b"2026-01-02 06:28:31 ", b"<22>1 ", b"<", b"mx01 ", b"a[", b"12",
     b"]: ",
     b"[", b"]", b"- ", b'"', b"\\", b": ", b" ", b"\n", b"\r\n", b"\0", b"\xff", b"+0100 ", b"1vb0Qh-0004mx-1J ", b"("]
)  # fmt: skip
LOGS = st.lists(st.one_of(PIECES, st.binary(max_size=12))).map(lambda parts: b"".join(parts) + b"\n")


def checked(data: bytes) -> Heads:
    heads = cut_heads(data)
    lines = data.split(b"\n")[:-1]
    assert len(lines) == heads.starts.size
    assert heads.starts.tolist() == [0, *(line_ends(data)[:-1] + 1).tolist()] if lines else True
    assert (heads.starts <= heads.texts).all()
    assert (heads.texts <= heads.text_ends).all()
    assert (heads.text_ends <= heads.ends).all()
    assert ((heads.host >= -1) & (heads.host < len(heads.hosts))).all()
    assert ((heads.tag >= -1) & (heads.tag < len(heads.tags))).all()
    assert (heads.stamp[heads.form == NO_STAMP] == 0).all()
    return heads


@settings(deadline=None)
@given(LOGS)
def test_any_bytes(data: bytes) -> None:
    checked(data)


@settings(deadline=None)
@given(LOGS, LOGS)
def test_lines_do_not_depend_on_their_neighbours(a: bytes, b: bytes) -> None:
    both, alone = checked(a + b), checked(b)
    skip = a.count(b"\n")
    for name in ("form", "stamp", "pid"):
        assert getattr(both, name)[skip:].tolist() == getattr(alone, name).tolist()
    assert (both.texts[skip:] - len(a)).tolist() == alone.texts.tolist()
    assert [both.hosts[c] for c in both.host[skip:] if c >= 0] == [alone.hosts[c] for c in alone.host if c >= 0]


@settings(deadline=None)
@given(st.one_of(LOGS, st.binary(), st.text().map(str.encode)))
def test_invalid_utf8_is_escaped_as_python_does(data: bytes) -> None:
    assert valid_utf8(data) == data.decode("utf-8", "backslashreplace").encode()


BOUNDS = r"""
import random
import numba
import numpy as np
from hoptrace.schemas.fleet import Fleet
from hoptrace.transforms.grammar import load_grammars
from hoptrace.transforms.parse import Window, parse_chunk
from hoptrace.transforms.read import Chunk, Range

@numba.njit
def beyond(array, i):
    return array[i]

try:
    beyond(np.zeros(3), 3)
    raise SystemExit("bounds are not checked")
except IndexError:
    pass
head, long_id = b"2026-01-02T06:28:31Z mx01 ", b"4ddwjK3DcKzY0: "
pieces = [
    head, b"Jan  2 02:22:43 ", b"2026-01-02 06:28:31 ", b"<22>1 ", b"mx01 ", b"a[", b"12", b"]: ", b"[", b"- ", b"]",
    b": ", b"\n", b"\xff", b"\xe2\x82", b"\xc3\xb8", b"+0100 ", b"1vb0Qh-0004mx-1J ", b"(", b"z", b"@", b"to=<", b"<",
    head + b"postfix/smtp[1]: " + long_id, long_id + b"to=<a@b>, relay=m[1.2.3.4]:25, delay=", b">", b"msgid=<",
    b"1, delays=0/0/0/1, status=", b"sent (250 2.0.0 Ok: queued as ", head + b"dovecot: lmtp(a)<1><b>: ",
    b"message repeated 3 times: [ ", head + b"postfix/smtpd[1]: " + long_id + b"client=a[",
    head + b"postfix/cleanup[1]: " + long_id + b"message-id= <",
]
random.seed(1)
grammars, window = load_grammars(), Window(0, 1 << 61, 1_767_225_600_000_000)
place = Range("a", 0, None, 1, 0, "mx01", True, True, None)
for _ in range(400):
    data = b"".join(random.choices(pieces, k=random.randrange(70))) + b"\n"
    parse_chunk(Chunk(data, 0), place, grammars, Fleet(), window)
"""


def test_no_index_is_out_of_bounds(tmp_path: Path) -> None:
    """Compiled anew with numba's bounds checks, which are off otherwise."""
    paths = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "NUMBA_CACHE_DIR": str(tmp_path)}
    env = {**os.environ, "NUMBA_BOUNDSCHECK": "1", **paths}
    done = subprocess.run([sys.executable, "-c", BOUNDS], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_cache_is_kept_where_that_is_possible(tmp_path: Path) -> None:
    assert cache_folder(tmp_path, "") == ""
    assert cache_folder(tmp_path, str(tmp_path / "chosen")) == str(tmp_path / "chosen")
    blocked = tmp_path / "file"
    blocked.write_text("")
    fallback = cache_folder(blocked, "")
    assert fallback
    assert Path(fallback).is_dir()


def test_time_is_linear_in_the_length_of_a_line() -> None:
    data = b"Jan  2 02:22:43 mx01 postfix/smtp[1]: " + b"<[(=: " * 3_000_000 + b"\n"
    assert np.array_equal(cut_heads(data).text_ends, [len(data) - 2])
