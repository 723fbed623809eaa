"""Where the time went: the seconds of every stay by stage, adding up to the whole delay."""

import polars as pl

from hoptrace.schemas.deliveries import STAGES
from hoptrace.transforms.runs import Runs

C = pl.col


def split_stay(steps: pl.DataFrame) -> pl.DataFrame:
    """Stage columns in microseconds for the steps of walks, in order of travel.

    `steps` has last, arrived, at, queued, partial, connect_us, transmit_us, waiting_us, held_us, previous_at (null at the
    entrance) and next_kind (kind of the link onward). What a partial hop did before its log begins was waiting, most likely. A
    stay counts from where the one before handed over, so that the overlap of two hosts' dialogue counts once, with the giver.
    A stay that has not ended (at is null) has no stages yet.
    """
    entrance = C("previous_at").is_null()
    begin = pl.when(entrance).then("arrived").otherwise(pl.max_horizontal("arrived", "previous_at"))
    steps = steps.with_columns(
        _span=(C("at") - begin).clip(lower_bound=0).fill_null(0),
        _begin=begin,
        between_hosts=pl.when(entrance).then(0).otherwise((C("arrived") - C("previous_at")).clip(lower_bound=0)),
    )
    left = C("_span")
    wanted = {
        "connect": C("connect_us"),
        "transmit": C("transmit_us"),
        "held": C("held_us"),
        "waiting_retry": C("waiting_us") - C("held_us"),
        "receive": pl.when(~C("partial")).then(pl.coalesce("queued", "arrived") - C("_begin")),
    }
    for stage, want in wanted.items():
        steps = steps.with_columns(pl.min_horizontal(want.fill_null(0).clip(lower_bound=0), left).alias(stage))
        steps = steps.with_columns(_span=left - C(stage))
    to_filter = (C("next_kind") == "filter").fill_null(False)
    return steps.with_columns(
        in_queue=pl.when("partial").then(0).otherwise("_span"),
        waiting_retry=C("waiting_retry") + pl.when("partial").then("_span").otherwise(0),
        filter=pl.when(to_filter).then("transmit").otherwise(0),
        transmit=pl.when(to_filter).then(0).otherwise("transmit"),
    ).drop("_span", "_begin")


def settle_remainder(steps: pl.DataFrame, walks: Runs, delay: pl.Series) -> pl.DataFrame:
    """`steps` whose stages add up to the delay (µs) of each of the `walks` that they are: clocks that differ leave a remainder,
    which goes to the last stay's between_hosts, or into its queue where there is one stay."""
    spent = walks.sums(steps.select(_spent=pl.sum_horizontal(*STAGES)))["_spent"]
    rest = pl.when(C("step") == 0).then(walks.spread((delay - spent).fill_null(0))).otherwise(0)
    alone = C("previous_at").is_null()
    return steps.with_columns(
        between_hosts=C("between_hosts") + pl.when(alone).then(0).otherwise(rest),
        in_queue=C("in_queue") + pl.when(alone).then(rest).otherwise(0),
    )


def find_worst(steps: pl.DataFrame, walks: Runs) -> pl.DataFrame:
    """worst_host, worst_stage of each of the `walks` that `steps` are: where most of the delay went; the earlier stay on a tie."""
    most = steps.select(us=pl.max_horizontal(*STAGES))["us"]
    worst = steps.select("host", *STAGES, us=most)[walks.first(most == walks.spread(walks.highest(most)))]
    named = pl.coalesce(*(pl.when(C(stage) == C("us")).then(pl.lit(stage)) for stage in sorted(STAGES)))
    return worst.select(worst_host="host", worst_stage=named)
