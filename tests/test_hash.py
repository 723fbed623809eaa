"""Hashes: fixed values, no collisions where it matters, the same whatever the chunking."""

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from hoptrace.transforms.hash import hash_columns, hash_strings


def test_values_never_change() -> None:
    # Stored trace IDs and shards depend on these.
    values = pl.Series(["", "a", "abcdefgh", "abcdefghi", None, "æ", "a@b.test"])
    assert hash_strings(values).to_list() == [
        16294208416658607535,
        9174391288653183031,
        1896674614521599262,
        4705860345009780601,
        hash_strings(pl.Series([None], dtype=pl.String))[0],
        *hash_strings(pl.Series(["æ", "a@b.test"])).to_list(),
    ]
    assert hash_strings(values, seed=7).to_list() != hash_strings(values).to_list()


def test_null_is_not_empty_and_columns_are_ordered() -> None:
    frame = pl.DataFrame({"a": ["", None, "x", "y"], "b": ["", "", "y", "x"], "n": [0, 0, 1, None]})
    assert hash_strings(frame["a"]).n_unique() == 4
    assert hash_columns(frame, ["a", "b"])[2] != hash_columns(frame, ["b", "a"])[2]
    assert hash_columns(frame, ["a", "b"])[2] == hash_columns(frame, ["b", "a"])[3]
    assert hash_columns(frame, ["n"]).n_unique() == 3
    assert hash_columns(frame, ["a"]).equals(hash_strings(frame["a"]), check_names=False)


def test_concatenation_of_columns_does_not_collide() -> None:
    frame = pl.DataFrame({"a": ["ab", "a"], "b": ["c", "bc"]})
    assert hash_columns(frame, ["a", "b"]).n_unique() == 2


def test_empty_frames() -> None:
    assert hash_strings(pl.Series([], dtype=pl.String)).to_list() == []
    assert hash_columns(pl.DataFrame(schema={"a": pl.String}), ["a"]).dtype == pl.UInt64


def test_enums_and_times_hash_as_what_they_are() -> None:
    words = pl.Series(["x", "y", None])
    assert hash_strings(words.cast(pl.Enum(["x", "y"]))).equals(hash_strings(words))
    moments = pl.Series([1, 2, None]).cast(pl.Datetime("us", "UTC"))
    assert hash_columns(moments.to_frame("t"), ["t"]).equals(hash_columns(moments.cast(pl.Int64).to_frame("t"), ["t"]))


def test_many_close_values_have_many_hashes_in_every_bit() -> None:
    hashes = hash_strings(pl.Series([f"4djJKC{n:05d}zDX7" for n in range(100_000)]))
    assert hashes.n_unique() == 100_000
    counts = (hashes % 64).value_counts()["count"]
    assert counts.min() > 1300
    assert counts.max() < 1850


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.text())), st.integers(0, 5))
def test_any_slice_hashes_the_same(values: list[str | None], start: int) -> None:
    series = pl.Series(values, dtype=pl.String)
    assert hash_strings(series[start:]).to_list() == hash_strings(series).to_list()[start:]
    parts = pl.concat([series[:start], series[start:]], rechunk=False)
    assert hash_strings(parts).to_list() == hash_strings(series).to_list()
