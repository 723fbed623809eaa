"""Pseudonyms: equal stays equal, nothing personal stays, and nights written so are the nights in clear, hidden."""

import re
import stat
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoptrace.pipeline import cli
from hoptrace.pipeline.find import Question, find
from hoptrace.pipeline.keys import exposed, read_pseudonyms
from hoptrace.pipeline.nightly import run_nightly
from hoptrace.pipeline.options import NightlyOptions
from hoptrace.pipeline.sample import sample_folder
from hoptrace.pipeline.store import Store
from hoptrace.schemas.catalog import DAY_TABLES, TABLES
from hoptrace.schemas.errors import HoptraceError
from hoptrace.schemas.events import OPEN_HOPS
from hoptrace.schemas.personal import KINDS, personal_page
from hoptrace.transforms.pseudonyms import Pseudonyms

CLEAR, HIDDEN = Pseudonyms(bytes(32)), Pseudonyms(bytes(32), domains=True)
BO, KLUB, X = "p-f18fce119ddc3001", "d-6d9c58dc4da1c5c6.invalid", "d-6e6bea9e0fdb016f.invalid"
IMPERSONAL = {
    "trace_id", "n_recipients", "entry_host", "outcome", "place", "delay_class", "caused_by", "path", "worst_host", "worst_stage",
    "dsn", "cause", "verdict", "verdict_by", "certainty", "would_settle", "flags", "host", "instance", "queue_id", "arrival",
    "status", "next_queue_id", "from_host", "from_queue_id", "to_host", "to_queue_id", "kind", "evidence", "strength",
    "about_trace_id", "about_queue_id", "action", "protocol", "session", "dimension", "population", "metric", "hole", "program",
    "checksum", "error", "day", "timezone", "state_of", "pseudonyms", "versions", "inputs", "counts", "hoptrace",
    "service", "orig_queue_id", "stage", "copy_of", "shared_with", "state_checksum", "witness",
}  # fmt: skip
"""Text columns that hold nothing about people; a new column is one of these, or its table says of which kind it is."""


def test_every_text_column_is_known_to_be_personal_or_not() -> None:
    for table in TABLES.values():
        texts = {name for name, dtype in table.schema.items() if dtype in (pl.String, pl.List(pl.String))}
        assert texts - set(table.personal) - IMPERSONAL == set(), table.name
        assert set(table.personal.values()) <= set(KINDS)
        assert {column.split(".")[0] for column in table.personal} <= set(table.columns)


def test_the_page_is_what_the_tables_are() -> None:
    page = Path(__file__).resolve().parents[1] / "docs" / "personal.md"
    assert page.read_text("utf-8") == personal_page(), "run: python -m hoptrace.schemas.personal > docs/personal.md"


@pytest.mark.parametrize("name", KINDS)
def test_kinds_become_what_their_examples_say(name: str) -> None:
    kind = KINDS[name]
    for pseudonyms, expected in ((CLEAR, kind.becomes), (HIDDEN, kind.hidden)):
        if name == "statistic":
            rows = pl.DataFrame({"dimension": ["recipient_domain"], "value": [kind.example]})
            assert pseudonyms.hide(TABLES["delay_stats"], rows)["value"].to_list() == [expected]
        else:
            assert pseudonyms.series(pl.Series("x", [kind.example, None]), name).to_list() == [expected, None]


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        ("address", "Bo@klub.test", "bO@klub.test"),
        ("address", '"Bo"@klub.test', "Bo@klub.test"),
        ("ip", "2001:db8::1", "2001:0DB8:0:0:0:0:0:1"),
        ("ip", "IPv6:2001:db8::1", "2001:db8::1"),
        ("host", "PC7.home.klub.test", "pc7.home.klub.test".title()),
    ],
)
def test_one_value_written_in_two_ways(kind: str, one: str, other: str) -> None:
    function = HIDDEN.function(kind)
    assert function(one) == function(other) != one


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("<bo@klub.test> (bad), to=bo@klub.test;", f"<{BO}@{KLUB}> (bad), to={BO}@{KLUB};"),
        ("SRS0=ab=cd=x.test=bo@x.test: no", f"p-2e5288b8801c19e5@{X}: no"),
        ('rcpt "bo"@klub.test', f"rcpt {BO}@{KLUB}"),
        ("why?s=mfrom;id=bo%40klub.test;ip=192.0.2.9", f"why?s=mfrom;id={BO}%40{KLUB};ip=ip-2d5d8ce3ee0eec69"),
        ("'bo@klub.test'", f"'{BO}@{KLUB}'"),
        (
            "at 12:34:56, 2.0.0 Ok, queued as 4dj3893npLzCvj, 12 s",
            "at 12:34:56, 2.0.0 Ok, queued as 4dj3893npLzCvj, 12 s",
        ),
        ("[192.0.2.9]:25 and de:ad:be:ef::", "[ip-2d5d8ce3ee0eec69]:25 and ip-d5d2e4861a4e3b78"),
        ("file::x @ <> a@ @b <@>", "file::x @ <> a@ @b <@>"),
    ],
)
def test_texts(text: str, becomes: str) -> None:
    assert HIDDEN.series(pl.Series([text]), "text").to_list() == [becomes]


def test_the_rows_own_people_are_not_named_in_its_texts() -> None:
    reply = '550 5.1.1 unknown user: "Bo"; bob, bo-ing and anna.bo stay'
    stay = {"host": "mx01", "relay": "mx[192.0.2.9]:25", "reply": reply, "stages": None}
    rows = DAY_TABLES["deliveries"].conform(
        pl.DataFrame(
            [
                {"recipient": "bo@klub.test", "reply": reply, "hops": [stay]},
                {"reply": reply, "hops": []},
                {"reply": None},
            ]
        )
    )
    told = CLEAR.hide(DAY_TABLES["deliveries"], rows)
    hidden = reply.replace('"Bo"', f'"{BO}"')
    assert told["reply"].to_list() == [hidden, reply, None]
    assert [hops and [(stay["relay"], stay["reply"]) for stay in hops] for hops in told["hops"].to_list()] == [
        [("mx[ip-2d5d8ce3ee0eec69]:25", hidden)], [], None,
    ]  # fmt: skip


def test_null_and_nobody_stay() -> None:
    columns = pl.DataFrame({"sender": ["", None], "message_id": ["", None]})
    rows = DAY_TABLES["hops"].conform(columns)
    assert HIDDEN.hide(DAY_TABLES["hops"], rows).select("sender", "message_id").equals(columns)
    assert HIDDEN.hide(OPEN_HOPS, OPEN_HOPS.conform(columns)).select("sender", "message_id").equals(columns)


TEXT = st.text(alphabet=st.sampled_from('ab@<>".:-=[]%40 1f\x00\x1f\U000f0000æ'), max_size=30)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=5), st.sampled_from([CLEAR, HIDDEN]))
def test_any_text(pairs: list[tuple[str, str]], pseudonyms: Pseudonyms) -> None:
    texts = pl.Series([text for text, _ in pairs])
    for kind in KINDS:
        if kind != "statistic":
            assert len(pseudonyms.series(texts, kind)) == len(pairs)
    rows = OPEN_HOPS.conform(pl.DataFrame({"reply": texts, "sender": [text for _, text in pairs]}))
    sealed = pseudonyms.hide(OPEN_HOPS, rows)
    assert pseudonyms.unseal(OPEN_HOPS, sealed).equals(rows)
    assert sealed["reply"].n_unique() == rows["reply"].n_unique()


def test_what_is_sealed_opens_with_its_key_only() -> None:
    sealed = CLEAR.hide(OPEN_HOPS, OPEN_HOPS.conform(pl.DataFrame({"sender": ["bo@klub.test"]})))
    assert "bo" not in sealed["sender"][0]
    with pytest.raises(HoptraceError, match="cannot be read with this key"):
        Pseudonyms(bytes(31) + b"\1").unseal(OPEN_HOPS, sealed)


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "key"
    path.write_text("s5Qk1Yb0c3J8vZpW2uN7xLrT4mGdHfEa\n")
    path.chmod(0o600)
    return path


def options_of(store: Path, key: Path | None, **more: object) -> NightlyOptions:
    folder = sample_folder()
    return NightlyOptions(
        **{
            "logs": (str(folder / "logs" / "*" / "*"),), "store": str(store), "day": date(2026, 1, 1),
            "until": date(2026, 1, 2), "fleet": str(folder / "fleet.toml"), "cold_start": True,
            "pseudonymise": key and str(key), **more,
        }
    )  # type: ignore[arg-type]  # fmt: skip


def ordered(rows: pl.DataFrame) -> list[str]:
    return sorted(rows.select(pl.struct(pl.all()).struct.json_encode().alias("text"))["text"].to_list())


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory, key: Path) -> dict[str, Path]:
    """The two nights of the sample: in clear, as pseudonyms, and with domains as pseudonyms too."""
    places = {name: tmp_path_factory.mktemp(name) for name in ("plain", "hidden", "domains")}
    run_nightly(options_of(places["plain"], None), ())
    run_nightly(options_of(places["hidden"], key), ())
    run_nightly(options_of(places["domains"], key, pseudonymise_domains=True, shards=3), ())
    return places


@pytest.mark.parametrize("name", ["hidden", "domains"])
def test_nights_of_pseudonyms_are_the_nights_in_clear_hidden(stores: dict[str, Path], key: Path, name: str) -> None:
    plain, hidden = Store(str(stores["plain"])), Store(str(stores[name]))
    pseudonyms = read_pseudonyms(str(key), name == "domains")
    for table in DAY_TABLES.values():
        rows = plain.read(table.name)
        expected = pseudonyms.hide(table, table.conform(rows)).with_columns(day=rows["day"])
        assert ordered(hidden.read(table.name)) == ordered(expected), table.name
    assert plain.read("deliveries").height > 100


@pytest.mark.parametrize("name", ["hidden", "domains"])
def test_nothing_personal_stays(stores: dict[str, Path], name: str) -> None:
    mail = Store(str(stores["plain"])).read("deliveries")
    people = {
        text.split("@")[0].lower()
        for column in ("sender", "recipient", "original_recipient", "sasl_user")
        for text in mail[column].drop_nulls()
        if len(text.split("@")[0]) > 4
    }
    assert len(people) > 50
    for table in TABLES:
        told = "\n".join(ordered(Store(str(stores[name])).read(table))).lower()
        assert {
            word
            for word in re.findall(r"[\w.+=-]{5,}(?=@)", told)
            if not re.fullmatch(r"p-[0-9a-f]{16}|20[0-9-]{8}", word)
        } == set()
        assert set(re.findall(r"(?<![\w.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![\w.])", told)) == set(), table
        assert people & set(re.findall(r"[\w.+=-]{5,}", told)) == set(), table
        if name == "domains":
            assert set(re.findall(r"[\w-]+\.test\b", told)) == set(), table


def test_find_with_the_key_finds_what_find_in_clear_does(stores: dict[str, Path], key: Path) -> None:
    plain = Store(str(stores["plain"]))
    known = pl.all_horizontal(pl.col("client_ip", "message_id", "recipient").is_not_null())
    mail = plain.read("deliveries").filter(known & (pl.col("sender") != "") & (pl.col("hops").list.len() > 0))
    row = mail.row(mail.height // 2, named=True)
    local, _, domain = row["recipient"].partition("@")
    questions = [
        Question(sender=row["sender"].upper(), limit=1000), Question(recipient=row["recipient"], limit=1000),
        Question(message_id=f"<{row['message_id']}>"), Question(ip=row["client_ip"], limit=1000), Question(sender="<>"),
        Question(recipient=f"@{domain}", limit=1000), Question(recipient=f"{local}@", limit=1000),
        Question(queue_id=row["hops"][0]["queue_id"]),
    ]  # fmt: skip
    for name in ("hidden", "domains"):
        store = Store(str(stores[name]), read_pseudonyms(str(key)))
        for question in questions:
            expected = {found["trace_id"] for found in find(plain, question).rows}
            assert {found["trace_id"] for found in find(store, question).rows} == expected != set(), (name, question)
        (told,) = find(store, Question(message_id=row["message_id"])).rows[:1]
        without = Store(str(stores[name]))
        for question in (Question(message_id=told["message_id"]), Question(recipient=told["recipient"], limit=1000)):
            assert told["trace_id"] in {found["trace_id"] for found in find(without, question).rows}


def test_a_part_of_a_domain_is_found_where_domains_are_in_clear(stores: dict[str, Path], key: Path) -> None:
    asked = Question(recipient="skole", limit=10_000)
    expected = {
        row["trace_id"] for row in find(Store(str(stores["plain"])), Question(recipient="@skole", limit=10_000)).rows
    }
    found = find(Store(str(stores["hidden"]), read_pseudonyms(str(key))), asked).rows
    assert {row["trace_id"] for row in found} == expected != set()
    assert find(Store(str(stores["domains"]), read_pseudonyms(str(key))), asked).rows == []


def failure(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert cli.main(argv) == 1
    return capsys.readouterr().err.strip()


def test_a_store_is_written_in_one_way(
    stores: dict[str, Path], key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    other.write_text("another key, thirty-two bytes or more 0123456789")
    other.chmod(0o600)
    night = ["nightly", "--logs", *options_of(tmp_path, None).logs, "--day", "2026-01-03"]
    key_is = f"as pseudonyms by key {read_pseudonyms(str(key)).fingerprint}"
    told = failure(capsys, *night, "--store", str(stores["hidden"]))
    assert told == (
        f"hoptrace: {stores['hidden']}: 2026-01-01 is written {key_is}, and this run would write in clear; give --pseudonymise "
        "that key's file, or another --store"
    )
    told = failure(capsys, *night, "--store", str(stores["plain"]), "--pseudonymise", str(key))
    assert told.endswith(
        f"is written in clear, and this run would write {key_is}; leave --pseudonymise out, or another --store"
    )
    assert "domains too" in failure(capsys, *night, "--store", str(stores["domains"]), "--pseudonymise", str(key))
    assert "this run would write as" in failure(
        capsys, *night, "--store", str(stores["hidden"]), "--pseudonymise", str(other)
    )
    ask = ["find", "--from", "bo@klub.test", "--store"]
    assert "is written as pseudonyms; give --pseudonymise" in failure(capsys, *ask, str(stores["hidden"]))
    wrong = failure(capsys, *ask, str(stores["hidden"]), "--pseudonymise", str(other))
    assert f"is written {key_is}, and the key given is {read_pseudonyms(str(other)).fingerprint}" in wrong
    assert "is written in clear" in failure(capsys, *ask, str(stores["plain"]), "--pseudonymise", str(key))


def test_key_files(tmp_path: Path, key: Path) -> None:
    short, same = tmp_path / "short", tmp_path / "same"
    short.write_text("secret")
    same.write_text("a" * 60)
    for path in (tmp_path / "absent", short, same):
        with pytest.raises(HoptraceError, match=re.escape("head -c 32 /dev/urandom | base64")):
            read_pseudonyms(str(path))
    assert exposed(str(key)) is None
    key.chmod(0o644)
    assert exposed(str(key)) == f"{key}: others can read the key, and so undo the pseudonyms; chmod 600 {key}"
    key.chmod(stat.S_IRUSR)
    assert b"s5Qk" not in repr(read_pseudonyms(str(key))).encode()
    assert cli.main(["nightly", "--logs", "x", "--store", "y", "--day", "2026-01-01", "--pseudonymise-domains"]) == 2
