"""Frames between workers: encoding, shards and named bundles."""

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from hoptrace.transforms.bundles import pack, unpack
from hoptrace.transforms.frames import decode_frame, decode_frames, encode_frame, split_by_shard
from tests.made import busy_log, frame, keyed

EVENTS = keyed(frame(row for row in busy_log(1) if row["queue_id"]))


@pytest.mark.parametrize(
    "rows", [EVENTS, EVENTS.clear(), pl.DataFrame({"a": [[1.5, None], None], "b": [{"c": 1}, None]})]
)
def test_a_frame_survives_the_journey(rows: pl.DataFrame) -> None:
    assert_frame_equal(decode_frame(encode_frame(rows)), rows)


def test_a_slice_travels_alone() -> None:
    assert len(encode_frame(EVENTS.head(2))) == len(encode_frame(EVENTS.clear().vstack(EVENTS.head(2)).rechunk()))


def test_no_frames_are_none() -> None:
    assert decode_frames([]) is None
    both = decode_frames([encode_frame(EVENTS.head(3)), encode_frame(EVENTS.clear())])
    assert both is not None
    assert_frame_equal(both, EVENTS.head(3))


@pytest.mark.parametrize("shards", [1, 3, 16, 1000])
def test_shards_hold_every_row_once_and_a_key_together(shards: int) -> None:
    parts = list(split_by_shard(EVENTS, "key", shards))
    assert all(0 <= shard < shards and part.height for shard, part in parts)
    assert_frame_equal(pl.concat([part for _, part in parts]).sort(EVENTS.columns), EVENTS.sort(EVENTS.columns))
    assert sum(part["key"].n_unique() for _, part in parts) == EVENTS["key"].n_unique()


@pytest.mark.parametrize("shards", [1, 3])
def test_nothing_goes_to_no_shard(shards: int) -> None:
    assert list(split_by_shard(EVENTS.clear(), "key", shards)) == []


def test_bundles_keep_names_apart() -> None:
    sent = [*pack("hops", EVENTS, "key", 3, first=6), *pack("stays", EVENTS.head(5), "key", 3)]
    assert {shard for shard, (name, _) in sent if name == "hops"} <= {6, 7, 8}
    assert {shard for shard, (name, _) in sent if name == "stays"} <= {0, 1, 2}
    got = unpack(part for _, part in sent)
    assert_frame_equal(got["hops"].sort(EVENTS.columns), EVENTS.sort(EVENTS.columns))
    assert got["stays"].height == 5
