"""Public mail logs, kept outside the project: every Postfix line is read, as others read it, or known to be quiet."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from tests import oracle
from tests.engines import read_fast

CORPORA = Path(__file__).parents[2] / "shared" / "corpora"
EXPECT = CORPORA / "expect"
pytestmark = pytest.mark.skipif(not EXPECT.is_dir(), reason=f"no public logs at {CORPORA}")

HEADER = re.compile(r"(?:^|[\s>:])(?P<tag>postfix[^\s\[:]*)(?:\[\d+\])?: (?P<text>.*)")
HEADER_5424 = re.compile(r"<\d+>1 \S+ \S+ (?P<tag>postfix\S*) \S+ \S+ (?:-|\[.*?\]) ?(?P<text>.*)")
REPEATED = re.compile(r"message repeated \d+ times: \[ (.*)\]")
BODIES = ("body", "whyscream", "balabit")
AT_MOST_UNREAD = 0.005

NOT_A_LINE = {
    "postfix__msimerson__postfix-parser__test-index-body.jsonl": (
        8,
        "7 texts without their queue ID, 1 cut in its recipient",
    ),
    "postfix__msimerson__postfix-parser__test-index.log": (1, "cut in its recipient"),
    "postfix__sissaschool__lograptor__rfc5424.log": (1, "structured data of an example from RFC 5424"),
    "postfix__whyscream__postfix-grok-patterns__test.jsonl": (1, "a relay's name alone"),
}
"""Unread on purpose: file, how many texts, and why they are no Postfix lines."""


@lru_cache(maxsize=1)
def lines() -> list[tuple[str, str, str]]:
    """(file, tag, text) of every Postfix line."""
    return [(file, tag, unwrapped(text)) for file, tag, text in _lines()]


def _lines() -> Iterator[tuple[str, str, str]]:
    for path in sorted(CORPORA.glob("*.log")):
        if any(word in path.name for word in BODIES):
            continue
        for line in path.read_bytes().decode("utf-8", "backslashreplace").split("\n"):
            found = HEADER_5424.fullmatch(line.rstrip()) or HEADER.search(line.rstrip())
            if found:
                yield path.name, found["tag"], found["text"]
    for path in sorted(EXPECT.glob("*.jsonl")):
        if any(word in path.name for word in BODIES):
            for record in records(path.name):
                if (record["program"] or "").startswith("postfix"):
                    yield path.name, record["program"], record["line"].rstrip()


def unwrapped(text: str) -> str:
    """The text within 'message repeated N times: [ TEXT]', else the text."""
    found = REPEATED.fullmatch(text)
    return (found[1] if found else text).strip()


def records(name: str) -> list[dict[str, Any]]:
    """The records of one file of expectations."""
    content = (EXPECT / name).read_text(encoding="utf-8") if (EXPECT / name).exists() else ""
    return [json.loads(line) for line in content.splitlines()]


@lru_cache(maxsize=1)
def postfix() -> oracle.Grammar:
    return oracle.load("postfix")


def read(tag: str, text: str) -> tuple[str, dict[str, Any]] | None:
    found = postfix().read(postfix().service(tag), text)
    return (found[0].kind, found[1]) if found else None


def test_every_postfix_line_is_read_or_known_to_be_quiet() -> None:
    unread = [(file, tag, text) for file, tag, text in lines() if read(tag, text) is None]
    print(*unread, sep="\n")
    assert len(unread) <= AT_MOST_UNREAD * len(lines())
    assert Counter(file for file, _, _ in unread) == {file: count for file, (count, _) in NOT_A_LINE.items()}


def test_one_row_matches_where_the_daemon_is_known() -> None:
    twice = []
    for _, tag, text in lines():
        service = postfix().service(tag)
        if service and len(list(postfix().matches(service, text))) > 1:
            twice.append(text)
    assert twice == []


def test_the_fast_engine_reads_them_alike() -> None:
    fast, counts = read_fast([f"{tag}[1]: {text}" for _, tag, text in lines()])
    expected = [read(tag, text) for _, tag, text in lines()]
    assert counts["unparsed"] == expected.count(None)
    for (_, tag, text), found, wanted in zip(lines(), fast, expected, strict=True):
        if wanted is None or wanted[0] == "quiet":
            assert found is None, text
            continue
        assert found is not None, text
        assert found[0] == wanted[0], text
        extra = {"service"} if "next_queue_id" in wanted[1] else {"service", "next_queue_id"}
        assert {k: v for k, v in found[1].items() if k not in extra} == wanted[1], (tag, text)


PAIRS = re.compile(r'(?:^|[ ,])(from|to|orig_to|helo|size|nrcpt|dsn|delay)=(?:<((?:"[^"]*")?[^>]*)>|([^, ]*))')
NAMES = {
    "from": "sender",
    "to": "recipient",
    "orig_to": "original_recipient",
    "helo": "helo",
    "size": "size",
    "nrcpt": "nrcpt",
    "dsn": "dsn",
    "postfix_queueid": "queue_id",
    "postfix_bounce_queueid": "next_queue_id",
    "postfix_message-id": "message_id",
    "postfix_client_ip": "client_ip",
    "postfix_client_hostname": "client_name",
    "postfix_status": "status",
    "postfix_smtp_response": "reply",
    "postfix_local_response": "reply",
    "postfix_pipe_response": "reply",
    "postfix_error_response": "reply",
    "postfix_relay_hostname": "relay_name",
    "postfix_relay_ip": "relay_ip",
    "postfix_status_code": "code",
    "postfix_status_code_enhanced": "dsn",
    "postfix_from": "sender",
    "postfix_proxy_smtp_stage": "stage",
    "postfix_smtp_stage": "stage",
    "qid": "queue_id",
    "message-id": "message_id",
    "dsnQid": "next_queue_id",
    "sasl_username": "sasl_user",
    "postfix.qid": "queue_id",
    "postfix.client.hostname": "client_name",
    "postfix.client.ip": "client_ip",
    "postfix.sender": "sender",
    "postfix.recipient": "recipient",
    "postfix.helo": "helo",
    "postfix.result.code": "code",
    "postfix.result.dsn": "dsn",
    "postfix.command": "stage",
    "postfix.status": "status",
    "postfix.to": "recipient",
    "postfix.orig_to": "original_recipient",
    "postfix.dsn": "dsn",
    "postfix.statusmsg": "reply",
    "remote_addr": "client_ip",
    "remote_host": "client_name",
    "smtp_basic_status_code": "code",
    "smtp_enhanced_status_code": "dsn",
    "command": "stage",
}
DELAYS = {
    "delay": "delay",
    "postfix.delay": "delay",
    "postfix_delay_before_qmgr": "delay_before",
    "postfix_delay_in_qmgr": "delay_queue",
    "postfix_delay_conn_setup": "delay_connect",
    "postfix_delay_transmission": "delay_transmit",
    "postfix.delays.1": "delay_before",
    "postfix.delays.2": "delay_queue",
    "postfix.delays.3": "delay_connect",
    "postfix.delays.4": "delay_transmit",
}

DIFFERENT = {
    ("postfix__balabit__syslog-ng-patterndb__postfix.jsonl", 6, "status"): "theirs keeps ', returned to sender'",
    ("postfix__crowdsecurity__hub__postfix-logs-postfix-logs.jsonl", 4, "helo"): "theirs takes the sender for it",
    (
        "postfix__crowdsecurity__hub__postfix-logs-postfix-logs.jsonl",
        5,
        "helo",
    ): "theirs takes the rejected recipient for it",
    (
        "postfix__msimerson__postfix-parser__test-index-body.jsonl",
        32,
        "status",
    ): "theirs says forwarded, the line says sent",
    ("postfix__msimerson__postfix-parser__test-index-body.jsonl", 41, "status"): "theirs keeps the comma after it",
}
"""(file, number of the record, our column): why we read something else there."""


def expectations() -> Iterator[tuple[tuple[str, int], str, str, Mapping[str, Any]]]:
    """((file, number), tag, text, expected fields) of the records of projects that read Postfix lines to fields."""
    for path in sorted(EXPECT.glob("postfix__*.jsonl")):
        for number, record in enumerate(records(path.name), 1):
            expect = record.get("expect")
            if not isinstance(expect, dict) or "line" not in record:
                continue
            if record.get("program"):
                yield (path.name, number), record["program"], record["line"].rstrip(), expect
            elif found := HEADER.search(record["line"].rstrip()):
                yield (path.name, number), found["tag"], found["text"], expect


def wanted(expect: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(our column, value) of what a record expects."""
    for name, value in expect.items():
        if name == "postfix_keyvalue_data":
            yield from wanted({k: a or b for k, a, b in PAIRS.findall(value)})
        elif name in DELAYS:
            yield DELAYS[name], str(round(float(value) * 1_000_000))
        elif name == "status":
            yield "status", value.split(" ")[0]
        elif name in NAMES and value != "NOQUEUE":
            yield NAMES[name], str(value)


def test_fields_agree_with_what_others_read() -> None:
    compared, wrong = 0, []
    for record, tag, text, expect in expectations():
        found = read(tag, text)
        if found is None or found[0] == "quiet":
            continue
        for column, value in wanted(expect):
            if (*record, column) in DIFFERENT:
                continue
            compared += 1
            if str(found[1].get(column)) != value:
                wrong.append((column, value, found[1].get(column), text))
    print(*wrong, sep="\n")
    assert wrong == []
    assert compared > 400


def test_clients_agree_with_what_a_ban_list_reads() -> None:
    compared = 0
    for record in records("postfix__fail2ban__fail2ban__postfix.jsonl"):
        found = HEADER.search(record["line"].rstrip())
        event = read(found["tag"], found["text"]) if found else None
        if event and "client_ip" in event[1] and record["expect"].get("host") and record["expect"]["match"]:
            compared += 1
            assert event[1]["client_ip"] == record["expect"]["host"], record["line"]
    assert compared > 30


def test_as_many_messages_leave_as_others_count() -> None:
    for record in records("postfix__Hsn723__postfix_exporter__exporter_test.jsonl"):
        found = [HEADER.search(line) for line in record["lines"]]
        kinds = [(read(line["tag"], line["text"]) or ("",))[0] for line in found if line]
        assert kinds.count("leave") == int(record["expect"].get("removedCount", 0)), record["name"]
