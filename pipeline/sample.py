"""`hoptrace sample`: the nights of the bundled sample fleet, run afresh into a store of their own."""

import os
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path

from hoptrace.pipeline.options import NightlyOptions
from hoptrace.schemas.errors import HoptraceError

MARK = "SAMPLE"


def sample_folder() -> Path:
    """The folder `sample` of the checkout: beside the code, or in the working directory."""
    for place in (Path(__file__).resolve().parents[1], Path.cwd()):
        if (place / "sample" / "nights.txt").is_file():
            return place / "sample"
    raise HoptraceError("no folder sample/ with nights.txt here; run ./run.sh in a checkout of hoptrace")


def sample_options(folder: Path, store: str) -> NightlyOptions:
    """The run over the sample's nights."""
    days = [date.fromisoformat(word) for word in (folder / "nights.txt").read_text("utf-8").split()]
    fleet = folder / "fleet.toml"
    return NightlyOptions(
        logs=(str(folder / "logs" / "*" / "*"),), store=store, day=min(days), until=max(days),
        fleet=str(fleet) if fleet.is_file() else None, cold_start=True,
    )  # fmt: skip


def run_sample(store: str, run: Callable[[NightlyOptions], object]) -> NightlyOptions:
    """Make the sample's store anew beside `store` with `run`, then put it in the place of the old one.

    Raises HoptraceError, and touches nothing, where `store` holds anything but an earlier sample.
    """
    final = Path(store).absolute()
    if final.exists() and not (final / MARK).is_file() and (final.is_file() or any(final.iterdir())):
        raise HoptraceError(f"{final}: this is not the sample's store, so it is left alone; give --store another place")
    fresh, old = (final.with_name(f"{final.name}.{word}.{os.getpid()}") for word in ("new", "old"))
    options = sample_options(sample_folder(), str(fresh))
    try:
        fresh.mkdir(parents=True)
        (fresh / MARK).write_text("Remade by every run of: hoptrace sample\n", "utf-8")
        run(options)
        if final.exists():
            final.rename(old)
        fresh.rename(final)
    except OSError as error:
        raise HoptraceError(f"{final}: cannot write here ({error.strerror}); give --store another place") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    return options
