"""A store on gs://, against a bucket in memory, and refusals within seconds."""

import time
from collections.abc import Iterator

import pytest

from hoptrace.pipeline import cli, commits
from hoptrace.pipeline.store import Store
from hoptrace.schemas.errors import HoptraceError
from hoptrace.transforms import storage
from tests.bucket import Bucket, bucket
from tests.frames import DAY1, DAY2, make_store


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    with bucket("mail") as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.address)
        monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
        storage.gs_client.cache_clear()
        yield server
    storage.gs_client.cache_clear()


def test_nights_on_gs(made: Bucket, capsys: pytest.CaptureFixture[str]) -> None:
    store = make_store("gs://mail/the/store")
    assert [night["day"] for night in store.days()] == [DAY1, DAY2]
    assert store.read("deliveries", [DAY1]).height == 5
    base = store.versions()
    store.publish(DAY1, {}, {}, base)
    with pytest.raises(HoptraceError, match="another run published"):
        store.publish(DAY1, {}, {}, base)
    assert store.read("deliveries").is_empty()
    assert store.read("open")["trace_id"].to_list() == ["f" * 24]
    assert cli.main(["find", "--store", "gs://mail/the/store", "--to", "ole"]) == 0
    assert "Still queued on out01" in capsys.readouterr().out
    assert all(name.startswith("the/store/") for name in made.objects)


def test_leftovers_and_old_days_on_gs(made: Bucket, capsys: pytest.CaptureFixture[str]) -> None:
    store = make_store("gs://mail/the/store")
    assert (
        cli.main(["gc", "--store", "gs://mail/the/store"]) == 0
    )  # the first night's `nights`: here all is of 2026-03-01
    made.objects["the/storefront/a"] = b"x"
    stray = f"the/store/hops/day={DAY1}/part-{'0' * 32}.parquet"
    made.objects[stray] = b"half"
    kept = set(made.objects) - {stray}
    assert cli.main(["gc", "--store", "gs://mail/the/store", "--dry-run"]) == 0
    assert set(made.objects) == {*kept, stray}
    assert cli.main(["gc", "--store", "gs://mail/the/store"]) == 0
    assert capsys.readouterr().out.endswith("removed 1 file, 4 bytes.\n")
    assert set(made.objects) == kept
    assert cli.main(["prune", "--store", "gs://mail/the/store", "--keep", "1d"]) == 0
    assert cli.main(["gc", "--store", "gs://mail/the/store", "--older-than", "0"]) == 0
    assert store.read("open")["trace_id"].to_list() == ["f" * 24]
    assert not [name for name in made.objects if f"day={DAY1}/" in name]
    assert "the/storefront/a" in made.objects


def test_a_bucket_that_is_not_there(made: Bucket) -> None:
    began = time.monotonic()
    for use in (Store("gs://absent/store").days, Store("gs://absent/store").prepare):
        with pytest.raises(HoptraceError, match=r"gs://absent/store: .*; check the bucket's and the object's name"):
            use()
    assert time.monotonic() - began < 5


def test_a_bucket_that_may_not_be_written(made: Bucket) -> None:
    made.name = "another"
    with pytest.raises(HoptraceError, match=r"store/a: .*; give these credentials the right to"):
        Store("gs://mail/store").root.write("a", b"x")


def test_no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    for name in ("STORAGE_EMULATOR_HOST", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", f"{tmp_path}/absent.json")
    storage.gs_client.cache_clear()
    began = time.monotonic()
    with pytest.raises(HoptraceError, match=r"gs://mail/store: .*absent\.json.*; set GOOGLE_APPLICATION_CREDENTIALS"):
        Store("gs://mail/store").prepare()
    assert time.monotonic() - began < 5


def test_checkpoints_on_gs(made: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(commits.KEEP_OLD_VERSIONS, "delta.checkpointInterval", "2")
    store = make_store("gs://mail/store")
    store.publish("2026-03-03", {}, {})
    assert any(".checkpoint." in name for name in made.objects)
    assert [night["day"] for night in store.days()] == [DAY1, DAY2, "2026-03-03"]
    assert store.read("deliveries").height == 5
