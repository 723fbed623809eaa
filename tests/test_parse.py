"""A chunk to events: against the plain engine on real logs, for any bytes, and however a file is cut into chunks."""

import bz2
import gzip
import pickle
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoptrace.schemas.errors import HoptraceError
from hoptrace.schemas.events import EVENTS
from hoptrace.schemas.fleet import Fleet, Host
from hoptrace.transforms.grammar import compile_grammars, load_grammars
from hoptrace.transforms.parse import COVERAGE_PARTIAL, Parsed, Window, parse_chunk
from hoptrace.transforms.read import Chunk, Range
from hoptrace.transforms.unparsed import OTHER, TEMPLATES, UNPARSED_PARTIAL
from tests import oracle

LAB = Path(__file__).parents[2] / "shared/mail-lab/dev/logs"
NEAR = 1_767_225_600_000_000  # 2026-01-01
DAY = 86_400_000_000
ALL = Window(NEAR - 60 * DAY, NEAR + 60 * DAY, NEAR)
FLEET = Fleet(
    timezone="Europe/Copenhagen", hosts={name: Host(name, timezone="UTC") for name in ("mx02", "mx03", "out01")}
)
GRAMMARS = load_grammars()
HEAD = "2026-01-02T06:28:31.5+00:00 mx01 "


def place_of(host: str, fold_at: int | None = None) -> Range:
    return Range(f"{host}/mail.log", 0, None, 1, 5 << 39, host, True, True, fold_at)


def parsed(data: bytes | str, host: str = "mx01", window: Window = ALL, **more: Any) -> Parsed:
    raw = data.encode() if isinstance(data, str) else data
    out = parse_chunk(Chunk(raw, 0), place_of(host, **more), GRAMMARS, FLEET, window)
    check(out, raw, window)
    return out


def check(out: Parsed, raw: bytes, window: Window) -> None:
    counts = out.counts
    assert counts["lines"] == raw.count(b"\n")
    assert counts["lines"] == counts["events"] + counts["quiet"] + counts["unparsed"] + counts["outside"]
    assert out.events["place"].n_unique() == counts["events"]
    assert out.events.schema == EVENTS.empty().schema
    assert out.coverage.schema == COVERAGE_PARTIAL
    assert out.unparsed.schema == UNPARSED_PARTIAL
    for name in ("events", "quiet", "unparsed"):
        assert out.coverage[name].sum() == counts[name]
    assert out.coverage["lines"].sum() == counts["lines"] - counts["outside"]
    assert out.unparsed["lines"].sum() == counts["unparsed"]
    assert out.events.filter((pl.col("stamp") < window.starts_at) | (pl.col("stamp") >= window.ends_at)).is_empty()
    # Walks every string: views that point nowhere or are no UTF-8 show here.
    for frame in (out.events, out.unparsed, out.coverage):
        pickle.loads(pickle.dumps(frame.rows()))


def event(line: str, **more: Any) -> dict[str, Any]:
    out = parsed(HEAD + line + "\n", **more)
    assert out.events.height == 1, out.unparsed.rows()
    return {name: value for name, value in out.events.row(0, named=True).items() if value is not None}


def test_a_delivery() -> None:
    line = (
        "postfix/lmtp[28390]: 4ddwjK3DcKzY0: to=<a@butik.test>, orig_to=<info@butik.test>, "
        "relay=s.test[10.77.0.41]:24, "
        "delay=63495, delays=0.01/0.03/1.5/0, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 4djFmr1Nq5zDLj)"
    )
    assert event(line) == {
        "stamp": NEAR + DAY + 6 * 3_600_000_000 + 28 * 60_000_000 + 31_500_000,
        "host": "mx01",
        "place": 5 << 39,
        "instance": "postfix",
        "service": "lmtp",
        "kind": "attempt",
        "queue_id": "4ddwjK3DcKzY0",
        "recipient": "a@butik.test",
        "original_recipient": "info@butik.test",
        "relay_name": "s.test",
        "relay_ip": "10.77.0.41",
        "delay": 63_495_000_000,
        "delay_before": 10_000,
        "delay_queue": 30_000,
        "delay_connect": 1_500_000,
        "delay_transmit": 0,
        "status": "sent",
        "dsn": "2.0.0",
        "reply": "250 2.0.0 Ok: queued as 4djFmr1Nq5zDLj",
        "next_queue_id": "4djFmr1Nq5zDLj",
        "repeat": 1,
    }


@pytest.mark.parametrize(
    ("relay", "name", "address"),
    [
        ("none", "none", None),
        ("local", "local", None),
        ("mx[private/dovecot-lmtp]", "mx", None),
        ("::1[::1]:24", "::1", "::1"),
        ("m.test[2001:db8::1]:25", "m.test", "2001:db8::1"),
        ("unknown[unknown]", "unknown", None),
        ("10.0.0.1[10.0.0.1]:10024", "10.0.0.1", "10.0.0.1"),
    ],
)
def test_relays(relay: str, name: str, address: str | None) -> None:
    found = event(f"postfix/smtp[1]: 4ddwjK3DcKzY0: to=<a@b>, relay={relay}, delay=1, status=deferred (x)")
    assert (found["relay_name"], found.get("relay_ip")) == (name, address)
    assert "next_queue_id" not in found


@pytest.mark.parametrize(
    ("logged", "expected"),
    [
        ("<a@b>", "a@b"),
        ("<>", ""),
        ("", ""),
        (" <a@b> ", "a@b"),
        ("=?UTF-8?B?PDE5?=", "=?UTF-8?B?PDE5?="),
        ("<a", "<a"),
        ("<æ@b>", "æ@b"),
        ("<x@y>, status=sent (250 ok)", "<x@y>, status=sent (250 ok)"),
    ],
)
def test_message_ids(logged: str, expected: str) -> None:
    found = event(f"postfix/cleanup[1]: 4ddwjK3DcKzY0: message-id={logged}")
    assert (found["kind"], found["message_id"]) == ("message", expected)


@pytest.mark.parametrize(
    ("address", "expected"),
    [("", ""), ('"a>b\\" c>"@x.test', '"a>b\\" c>"@x.test'), ("bob", "bob"), ('"open', '"open'), ("bøb@x", "bøb@x")],
)
def test_addresses(address: str, expected: str) -> None:
    found = event(f"postfix/qmgr[1]: 4ddwjK3DcKzY0: from=<{address}>, size=12, nrcpt=3 (queue active)")
    assert (found["sender"], found["size"], found["nrcpt"]) == (expected, 12, 3)


def test_repeated_lines_stand_for_themselves_often() -> None:
    line = "4ddwjK3DcKzY0: to=<a@b.test>, relay=none, delay=1, status=deferred (no)"
    found = event(f"postfix/smtp[1]: message repeated 12 times: [ {line}]")
    assert (found["kind"], found["repeat"], found["queue_id"]) == ("attempt", 12, "4ddwjK3DcKzY0")
    assert event(f"postfix/smtp[1]: {line}")["repeat"] == 1


def test_bytes_that_are_no_utf8_are_spelled_out_and_places_stay() -> None:
    first = HEAD.encode() + b"postfix/cleanup[1]: 4ddwjK3DcKzY0: message-id=<\xe6\xff@b>\n"
    out = parsed(first + HEAD.encode() + b"postfix/qmgr[1]: 4ddwjK3DcKzY0: removed\n")
    assert out.events["message_id"].to_list() == [r"\xe6\xff@b", None]
    assert out.events["place"].to_list() == [5 << 39, 5 << 39 | len(first)]
    assert out.coverage["bytes"].sum() == len(first) + len(HEAD) + len("postfix/qmgr[1]: 4ddwjK3DcKzY0: removed\n")


def test_hosts_have_one_name_and_lines_without_one_are_the_folders() -> None:
    data = (
        "2026-01-02T06:28:31Z mx03.nordhost.test postfix/qmgr[1]: 4ddwjK3DcKzY0: removed\n"
        "Jan  2 02:22:43 mx03 postfix/qmgr[1]: 4ddwjK3DcKzY0: removed\n"
        "Jan  2 02:22:43 postfix/qmgr[1]: 4ddwjK3DcKzY0: removed\n"
    )
    out = parsed(data, host="mx01")
    assert out.events["host"].to_list() == ["mx03", "mx03", "mx01"]
    assert (out.events["stamp"][1] - out.events["stamp"][2]) == 3_600_000_000


def test_the_second_pass_of_a_doubled_hour() -> None:
    line = "Oct 25 02:30:00 mx01 postfix/qmgr[1]: 4ddwjK3DcKzY0: removed\n"
    near = NEAR + 297 * DAY
    out = parsed(line * 2, window=Window(0, 2 * NEAR, near), fold_at=len(line))
    assert out.events["stamp"].to_list()[1] - out.events["stamp"].to_list()[0] == 3_600_000_000


def test_what_is_not_understood_is_counted_by_template() -> None:
    data = (
        HEAD + "haraka[3]: (1-2) Odd <a@b.test> 10.0.0.1 4ddwjK3DcKzY0\n"
        + HEAD + "haraka[3]: (77-1) Odd <cc@d.test> 10.0.0.77 4ddwjK3DcKzY1\n"
        + HEAD + "cron[3]: (root) CMD\n"
        + "no stamp 12\n"
        + "\n"
        + HEAD + "postfix/qmgr[1]: of tomorrow's Postfix\n"
    )  # fmt: skip
    out = parsed(data)
    assert out.counts == {"lines": 6, "events": 0, "quiet": 2, "unparsed": 4, "outside": 0, "ahead": 0, "copies": 0}
    assert out.unparsed.select("program", "template", "lines", "host").rows() == [
        (None, "no stamp N", 1, "mx01"),
        ("haraka", "(N-N) Odd <..@..> IP ID", 2, "mx01"),
        ("postfix/qmgr", "of tomorrow's Postfix", 1, "mx01"),
    ]
    assert out.unparsed["example"][1] == HEAD + "haraka[3]: (1-2) Odd <a@b.test> 10.0.0.1 4ddwjK3DcKzY0"


def test_templates_and_examples_are_bounded() -> None:
    letters = [chr(97 + n // 676) + chr(97 + n // 26 % 26) + chr(97 + n % 26) for n in range(1500)]
    out = parsed("".join(f"{HEAD}haraka[1]: {word} {'ø' * 400}\n" for word in letters))
    assert out.unparsed.height == TEMPLATES
    assert out.unparsed.filter(template=OTHER)["lines"].to_list() == [501]
    assert out.unparsed["example"].str.len_bytes().max() in (299, 300)


def test_lines_outside_the_window_are_only_counted() -> None:
    window = Window(NEAR, NEAR + DAY, NEAR)
    stamps = [
        "2025-12-31T23:59:59.999999Z",
        "2026-01-01T00:00:00Z",
        "2026-01-01T23:59:59.999999Z",
        "2026-01-02T00:00:00Z",
    ]
    out = parsed("".join(f"{s} mx01 postfix/qmgr[1]: 4ddwjK3DcKzY0: removed\n" for s in stamps), window=window)
    assert out.counts == {"lines": 4, "events": 2, "quiet": 0, "unparsed": 0, "outside": 2, "ahead": 0, "copies": 0}


def test_queue_ids_prove_zones_and_years() -> None:
    # 4ddyZv2r6Bzg2 was made 2025-12-27T22:58:47Z.
    stamps = ["2025-12-27T22:58:47Z", "2025-12-28T00:58:47Z", "2024-12-27T22:58:47Z"]
    data = "".join(f"{s} mx01 postfix/smtpd[1]: 4ddyZv2r6Bzg2: client=a[1.2.3.4]\n" for s in stamps)
    out = parsed(data, window=Window(0, 2 * NEAR, NEAR))
    assert out.coverage.sort("hour")["year_conflicts"].to_list() == [1, 0, 0]
    assert out.coverage.sort("hour")["zone_conflicts"].to_list() == [0, 0, 1]


def test_dovecots_own_file_is_dovecots() -> None:
    out = parsed(
        "Jan 02 06:28:31 lmtp(123): Info: Connect from 10.77.0.23\nJan 02 06:28:31 master: Info: x\n", host="store01"
    )
    assert set(out.events["host"].to_list()) <= {"store01"}
    assert set(out.unparsed["program"].to_list()) <= {"dovecot"}
    assert out.counts["outside"] == 0


LINES = [
    b"postfix/smtp[1]: 4ddwjK3DcKzY0: to=<a@b>, relay=m[1.2.3.4]:25, delay=1, delays=0/0/0/1, status=sent (250 id)",
    b"postfix/qmgr[1]: message repeated 2 times: [ 4ddwjK3DcKzY0: removed]",
    b"postfix/smtpd[1]: 4ddwjK3DcKzY0: client=a[1.2.3.4]",
    b"dovecot: lmtp(a@b)<1><x>: save: box=INBOX, uid=1, msgid=<a@b>, size=1",
    b"postfix/cleanup[1]: 4ddwjK3DcKzY0: message-id=<a@b>",
]
BITS = st.one_of(
    st.sampled_from([HEAD.encode(), b"Oct 25 02:30:00 mx01 ", b"2026-01-03 00:12:19 ", b"\n", b"\xe6"]),
    st.sampled_from(LINES),
    st.sampled_from(LINES).flatmap(lambda line: st.integers(0, len(line)).map(lambda n: line[:n])),
    st.sampled_from([b"to=<", b"[", b"message repeated 3 times: [ ", b"4ddwjK3DcKzY0: ", b"status=", b"(", b"<"]),
    st.binary(max_size=6),
)  # fmt: skip
LOGS = st.lists(BITS, max_size=12).map(lambda parts: b"".join(parts) + b"\n")


@settings(deadline=None, max_examples=300)
@given(LOGS)
def test_any_bytes(data: bytes) -> None:
    parsed(data)


@settings(deadline=None, max_examples=150)
@given(st.lists(LOGS, min_size=1, max_size=6))
def test_any_chunking_gives_the_same(parts: list[bytes]) -> None:
    whole = parsed(b"".join(parts))
    pieces, offset = [], 0
    for part in parts:
        pieces.append(parse_chunk(Chunk(part, offset), place_of("mx01"), GRAMMARS, FLEET, ALL))
        offset += len(part)
    assert pl.concat([piece.events for piece in pieces]).equals(whole.events)
    assert sum((Counter(piece.counts) for piece in pieces), Counter()) == Counter(whole.counts)
    coverage = pl.concat([piece.coverage for piece in pieces]).group_by("host", "hour", maintain_order=True)
    assert (
        coverage.agg(pl.col("lines", "bytes").sum())
        .sort("host", "hour")
        .equals(whole.coverage.select("host", "hour", "lines", "bytes"))
    )
    templates = pl.concat([piece.unparsed for piece in pieces]).group_by("program", "template")
    assert (
        templates.agg(pl.col("lines").sum(), pl.col("example").min())
        .sort("program", "template")
        .equals(whole.unparsed.select("program", "template", "lines", "example"))
    )


def lab_files() -> Iterator[tuple[str, Path]]:
    for folder in sorted(LAB.glob("*")):
        for path in sorted(folder.iterdir()):
            yield folder.name, path


def content(path: Path) -> bytes:
    raw = path.read_bytes()
    unpack = gzip.decompress if raw[:2] == b"\x1f\x8b" else bz2.decompress if raw[:3] == b"BZh" else bytes
    data = unpack(raw)
    return data if data.endswith(b"\n") else data + b"\n"


@pytest.mark.skipif(not LAB.is_dir(), reason=f"needs the mail lab's logs in {LAB}")
@pytest.mark.parametrize("host", ["smtp01", "mx01", "mx02", "mx03", "list01", "store01", "webhotel01"])
def test_real_logs_are_read_as_the_plain_engine_reads_them(host: str) -> None:
    plain = {path.stem: oracle.load(path.stem) for path in oracle.GRAMMARS.glob("*.toml")}
    compared = 0
    for _, path in (pair for pair in lab_files() if pair[0] == host):
        data = content(path)
        lines = data.split(b"\n")[:-1]
        out = parsed(data, host=host)
        events = one_a_line(out.events)
        at = 0
        for n, raw in enumerate(lines):
            if n % 23 == 0:
                compared += same(raw.decode("utf-8", "backslashreplace").rstrip(" \r"), events.get(at), plain)
            at += len(raw) + 1
    assert compared > 10


def one_a_line(events: pl.DataFrame) -> dict[int, dict[str, Any]]:
    """Offset -> event; the events of a line that lists recipients as one, with all of them as `recipients`."""
    found: dict[int, dict[str, Any]] = {}
    for row in events.iter_rows(named=True):
        at = row["place"] & ((1 << 39) - 1)
        before = found.get(at)
        if before is not None:
            listed = before.pop("recipients", None) or [before.pop("recipient")]
            row["recipients"] = [*listed, row.pop("recipient")]
            assert before == {name: value for name, value in row.items() if name != "recipients"}
        found[at] = row
    return found


def same(line: str, event: dict[str, Any] | None, plain: dict[str, oracle.Grammar]) -> bool:
    """Asserts that both engines read this line alike; whether a grammar owns it."""
    tag, text = head(line)
    grammar = next((g for g in plain.values() if tag is not None and g.owns(tag)), None)
    found = grammar.read(grammar.service(tag), text) if grammar and tag else None
    if found is None or found[0].kind == "quiet":
        assert event is None, line
        return grammar is not None
    assert event is not None, line
    row, fields = found
    own = {"stamp", "host", "place", "instance", "service", "pid", "kind", "repeat"} - set(fields)
    if row.kind == "attempt" and fields.get("status") == "sent" and "next_queue_id" not in fields and "reply" in fields:
        reply = plain["replies"].read(None, fields["reply"])
        fields |= reply[1] if reply else {}
    assert {k: v for k, v in event.items() if v is not None and k not in own} == fields, line
    assert event["kind"] == row.kind
    return True


def head(line: str) -> tuple[str | None, str]:
    import regex

    found = regex.fullmatch(
        r"(?:<\d+>1 (?<stamp>\S+) \S+ (?<tag>\S+) \S+ - - +(?<text>.*))"
        r"|(?:(?:\S{3} [ \d]\d [\d:]+|\d{4}-\S+T\S+) \S+ (?<tag2>[^\s\[:]+)(?:\[\d+\])?:(?: (?<text2>.*))?)",
        line,
    )
    if not found:
        return ("dovecot", line[16:]) if line[16:].startswith("master:") else (None, line)
    tag = found["tag"] or found["tag2"]
    text = (found["text"] if found["tag"] else found["text2"]) or ""
    return tag, text.lstrip(" ")


@pytest.mark.skipif(not LAB.is_dir(), reason=f"needs the mail lab's logs in {LAB}")
def test_every_lab_line_is_accounted_for() -> None:
    for host, path in lab_files():
        out = parsed(content(path), host=host)
        assert out.coverage["zone_conflicts"].sum() == 0, path
        assert out.coverage["year_conflicts"].sum() == 0, path
        assert set(out.unparsed["program"].unique()) - {None} <= {
            "exim", "sendmail", "smtpd", "sm-mta"
        }, path  # fmt: skip


def test_grammars_travel_by_name() -> None:
    assert pickle.loads(pickle.dumps(GRAMMARS)) is GRAMMARS


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"kind": "sent", "text": "x", "example": "x"}, "row 1.*kind = 'sent'"),
        ({"kind": "leave", "text": "x"}, "no example"),
        ({"kind": "leave", "text": "{nonsense}", "example": "x"}, "nonsense.*no column"),
        ({"kind": "leave", "text": "{user:addres}", "example": "x"}, "unknown type"),
        ({"kind": "leave", "text": "x{?y", "example": "x"}, "without"),
        ({"kind": "leave", "text": "x{?{user}?}", "example": "x"}, "begin with a literal"),
        ({"kind": "leave", "text": "x{", "example": "x"}, "lone {"),
        ({"kind": "leave", "text": "{*}x", "example": "x"}, "at the end"),
        ({"kind": "leave", "text": "x", "regex": "x", "example": "x"}, "either text or regex"),
        ({"kind": "leave", "regex": "x", "example": "x"}, "needs starts"),
        ({"kind": "leave", "text": "x", "example": "x", "set": {"colour": "red"}}, "colour"),
        ({"kind": "leave", "text": "x", "example": "x", "sets": {}}, "unknown key 'sets'"),
    ],
)
def test_wrong_rows_are_named(row: dict[str, Any], message: str) -> None:
    with pytest.raises(HoptraceError, match=message):
        compile_grammars([("some.toml", {"program": "some", "row": [row]})])


def test_a_wrong_pattern_is_named_where_it_is_needed() -> None:
    row = {"kind": "leave", "regex": "(", "starts": "", "example": "x"}
    (compiled,) = compile_grammars([("some.toml", {"program": "some", "row": [row]})]).rows
    assert compiled.pattern is not None
    with pytest.raises(HoptraceError, match=r"some\.toml: row 1.*no pattern"):
        _ = compiled.pattern.compiled


def test_every_pattern_names_its_fields() -> None:
    for row in GRAMMARS.rows:
        if row.pattern is not None:
            assert set(row.pattern.compiled.groupindex) <= set(row.fields), row.pattern.where


def test_lines_ahead_give_events_but_count_in_no_table() -> None:
    text = b"".join(
        f"2026-01-02T00:{minute:02}:00+00:00 mx01 postfix/qmgr[1]: 4djDLW52FBzDFn: removed\n".encode()
        for minute in range(4)
    )
    window = Window(NEAR + DAY, NEAR + 2 * DAY, NEAR, NEAR + DAY + 2 * 60_000_000)
    out = parse_chunk(Chunk(text, 0), place_of("mx01"), GRAMMARS, FLEET, window)
    assert out.events.height == 4
    assert (out.counts["events"], out.counts["ahead"], out.counts["lines"]) == (2, 2, 4)
    assert out.coverage.select(pl.col("lines", "events").sum()).row(0) == (2, 2)
    assert (out.coverage["last_at"].max(), out.coverage["read_at"].max()) == tuple(
        NEAR + DAY + n * 60_000_000 for n in (1, 3)
    )
