"""docs/grammar.md adds a program in one file: that very file is loaded, put to both engines, and traces a mail."""

from pathlib import Path
from typing import Any

import pytest
import regex

from hoptrace.schemas.fleet import Fleet, Host
from hoptrace.schemas.toml import read_toml
from hoptrace.transforms.grammar import Grammars, compile_grammars
from hoptrace.transforms.parse import Parsed, Window, parse_chunk
from hoptrace.transforms.plan import Night
from hoptrace.transforms.read import Chunk, Range
from tests import oracle
from tests.plain import run_plain

PAGE = Path(__file__).resolve().parents[1] / "docs" / "grammar.md"
(BLOCK,) = regex.findall(r"```toml\n(# chasquid.*?)```", PAGE.read_text("utf-8"), regex.DOTALL)
ROWS: list[dict[str, Any]] = read_toml(BLOCK.encode())["row"]
ID = "hJ3kPq-x_2A"
NOON = 1_767_355_200_000_000
NIGHT = Night(NOON - 43_200_000_000, NOON + 5 * 86_400_000_000, cold_start=True)
MINE = ("queue_id", "sender", "recipient", "client_ip", "arrival", "status", "reply")


@pytest.fixture(scope="module")
def grammars() -> Grammars:
    """The page's file beside those that hoptrace comes with."""
    ours = [(path.name, read_toml(path)) for path in sorted(oracle.GRAMMARS.glob("*.toml"))]
    return compile_grammars([*ours, ("chasquid.toml", read_toml(BLOCK.encode()))])


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> oracle.Grammar:
    """The same, for the plain engine."""
    folder = tmp_path_factory.mktemp("grammar")
    (folder / "chasquid.toml").write_text(BLOCK, "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(oracle, "GRAMMARS", folder)
        return oracle.load("chasquid")


def parse(lines: list[str], grammars: Grammars) -> Parsed:
    """Lines of host mx01, a second after each other from noon on."""
    data = "".join(f"2026-01-02T12:00:{n:02}+00:00 mx01 {line}\n" for n, line in enumerate(lines)).encode()
    whole = Range("mail.log", 0, None, len(data), 0, "mx01", True, True)
    fleet = Fleet(hosts={"mx01": Host("mx01", None, ("mx01.our.test",), (), None, None, 0, None)})
    return parse_chunk(Chunk(data, 0), whole, grammars, fleet, Window(NIGHT.starts_at, NIGHT.ends_at, NOON))


@pytest.mark.parametrize("row", ROWS, ids=[f"{row['kind']}-{n}" for n, row in enumerate(ROWS)])
def test_an_example_yields_what_the_page_says(row: dict[str, Any], grammars: Grammars, plain: oracle.Grammar) -> None:
    tag, text = oracle.split(row["example"])
    assert plain.owns(tag)
    assert [(found.kind, fields) for found, fields in plain.matches(None, text)] == [
        (row["kind"], row.get("yields", {}))
    ]
    parsed = parse([row["example"]], grammars)
    assert parsed.counts["quiet" if row["kind"] == "quiet" else "events"] == 1
    fast = [{name: event[name] for name in MINE if event[name] is not None} for event in parsed.events.to_dicts()]
    assert fast == ([row["yields"]] if row["kind"] != "quiet" else [])


@pytest.mark.parametrize(
    ("line", "kind", "fields"),
    [
        (f"{ID} from=<> to=bo@firma.test sent", "attempt", {"recipient": "bo@firma.test", "status": "sent"}),
        (
            f"{ID} from=a@x to=b@y failed (permanent): 550 to=c@z sent",
            "attempt",
            {"recipient": "b@y", "status": "bounced"},
        ),
        (f"{ID} from=a@x to=b@y failed (temporary): {ID} from=a@x all done", "attempt", {"status": "deferred"}),
    ],
)
def test_forged_words_change_nothing(line: str, kind: str, fields: dict[str, str], grammars: Grammars) -> None:
    (event,) = parse([f"chasquid: {line}"], grammars).events.to_dicts()
    assert event["kind"] == kind
    assert fields.items() <= event.items()


def test_what_is_no_line_of_it_stays_unparsed(grammars: Grammars) -> None:
    lines = [f'chasquid: {ID} from="x to=victim@firma.test sent"@far.test all done', "chasquid: panic: out of memory"]
    assert parse(lines, grammars).counts["unparsed"] == 2


def test_a_mail_is_traced_with_it(grammars: Grammars) -> None:
    lines = [f"chasquid: {ID} from=anna@klub.test queued ip=192.0.2.7:5 to=[bo@firma.test eva@skole.test]"]
    lines += [f"chasquid: {ID} from=anna@klub.test to={rest}" for rest in (
        "eva@skole.test failed (temporary): 451 4.7.1 Greylisted", "bo@firma.test sent",
        "eva@skole.test failed (permanent): 550 5.1.1 No such user")]  # fmt: skip
    lines.append(f"chasquid: {ID} from=anna@klub.test all done")
    events = parse(lines, grammars).events
    rows = run_plain(events, Fleet(), NIGHT, {"mx01": NIGHT.ends_at}).tables["deliveries"].sort("recipient")
    assert rows.select("recipient", "outcome", "delay_s", "attempts", "client_ip").rows() == [
        ("bo@firma.test", "delivered", 2.0, 1, "192.0.2.7"), ("eva@skole.test", "bounced", 3.0, 2, "192.0.2.7"),
    ]  # fmt: skip
    assert rows["trace_id"].n_unique() == 1
