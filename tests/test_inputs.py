"""Inputs: which files a span of days needs, and what is said where they cannot be had."""

import gzip
import os
from datetime import datetime, timezone
from pathlib import Path

import pytest

from hoptrace.pipeline.inputs import plan_inputs
from hoptrace.schemas.errors import HoptraceError
from hoptrace.schemas.fleet import Fleet, Host
from hoptrace.transforms.read import PLACE_SHIFT, Chunk, Range, read_chunks

FLEET = Fleet(timezone="Europe/Copenhagen", hosts={"mx02": Host("mx02", timezone="UTC"), "central": Host("central")})


def us(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=timezone.utc).timestamp()) * 1_000_000  # type: ignore[misc, arg-type]


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(line + "\n" for line in lines).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def names(ranges: list[Range], below: Path) -> list[str]:
    return [os.path.relpath(r.path, below) for r in ranges]


def plan(
    *patterns: Path | str, day: tuple[int, int, int] = (2026, 1, 1), fleet: Fleet = FLEET, size: int = 1 << 26
) -> list[Range]:
    start = us(*day)
    return plan_inputs([str(pattern) for pattern in patterns], fleet, start, start + us(1970, 1, 2), size)


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    for day, name in ((29, "mail.log.3.gz"), (30, "mail.log.2.gz"), (31, "mail.log.1")):
        write(tmp_path / "mx01" / name, f"Dec {day} 06:25:01 mx01 postfix/qmgr[1]: x")
    write(tmp_path / "mx01" / "mail.log", "Jan  1 06:25:01 mx01 postfix/qmgr[1]: x")
    write(tmp_path / "mx01" / "dovecot.log", "Dec 20 01:00:00 master: Info: Dovecot v2.3 starting up")
    write(tmp_path / "mx02" / "mail.log-20251231.gz", "2025-12-30T06:25:01.5+00:00 mx02 postfix/qmgr[1]: x")
    write(tmp_path / "mx02" / "mail.log-20260101.gz", "2025-12-31T06:25:01.5+00:00 mx02 postfix/qmgr[1]: x")
    write(tmp_path / "mx02" / "mail.log", "2026-01-02T06:25:01.5+00:00 mx02 postfix/qmgr[1]: x")
    return tmp_path


def test_only_the_files_that_a_day_needs_are_read(logs: Path) -> None:
    needed = ["mx01/dovecot.log", "mx01/mail.log", "mx01/mail.log.1", "mx02/mail.log-20260101.gz"]
    assert names(plan(logs), logs) == needed
    assert names(plan(logs / "*" / "*"), logs) == needed
    assert names(plan(logs / "**"), logs) == needed
    assert names(plan(logs / "mx02", logs / "*", logs / "mx02" / "mail.log-20260101.gz"), logs) == needed
    assert names(plan(logs / "mx01", day=(2025, 12, 29)), logs) == ["mx01/dovecot.log", "mx01/mail.log.3.gz"]


def test_ranges_tell_place_host_and_ends(logs: Path) -> None:
    by_name = {os.path.relpath(r.path, logs): r for r in plan(logs)}
    log = by_name["mx01/mail.log"]
    minutes = (us(2026, 1, 1, 5, 25) - us(2000, 1, 1)) // 60_000_000
    assert log == Range(str(logs / "mx01/mail.log"), 0, 40, 40, minutes << PLACE_SHIFT, "mx01", first=True, last=True)
    assert by_name["mx02/mail.log-20260101.gz"].end is None


def test_plain_files_are_split_and_lose_nothing(tmp_path: Path) -> None:
    lines = [f"Jan  1 06:25:{n % 60:02} mx01 postfix/qmgr[{n}]: x" for n in range(1000)]
    path = write(tmp_path / "mx01" / "mail.log", *lines)
    parts = plan(path, size=7001)
    assert len(parts) == round(path.stat().st_size / 7001)
    assert ([r.first for r in parts].index(True), [r.last for r in parts].index(True)) == (0, len(parts) - 1)
    data = b"".join(chunk.data for r in parts for chunk in read_chunks(r, 1 << 12) if isinstance(chunk, Chunk))
    assert data == path.read_bytes()


def test_hosts_of_one_folder_are_chains_of_their_own(tmp_path: Path) -> None:
    for day in (30, 31):
        write(tmp_path / "all" / f"mx01-2025-12-{day}.log", f"Dec {day} 06:25:01 mx01 postfix/qmgr[1]: x")
    write(tmp_path / "all" / "mx02.log", "Dec 30 06:25:01 mx02 postfix/qmgr[1]: x")
    write(tmp_path / "all" / "mx02.log.1", "Dec 29 06:25:01 mx02 postfix/qmgr[1]: x")
    assert names(plan(tmp_path), tmp_path) == ["all/mx01-2025-12-31.log", "all/mx02.log"]


def test_a_folder_or_paths_name_the_host_where_lines_do_not(tmp_path: Path) -> None:
    write(tmp_path / "relay01" / "mainlog", "2026-01-01 06:25:01 Start queue run: pid=1")
    write(tmp_path / "exim" / "mainlog", "2026-01-01 06:25:01 Start queue run: pid=1")
    fleet = Fleet(hosts={"out09": Host("out09", paths=("*/exim/*",))})
    assert [r.folder_host for r in plan(tmp_path, fleet=fleet)] == ["out09", "relay01"]


def test_files_without_a_stamp_are_read_too(tmp_path: Path) -> None:
    write(tmp_path / "mx01" / "mail.log", "no stamp")
    write(tmp_path / "mx01" / "empty.log")
    assert [(r.place, r.start, r.end) for r in plan(tmp_path)] == [(0, 0, 0), (0, 0, 9)]


def test_a_cut_gz_is_planned_by_its_head(tmp_path: Path) -> None:
    path = write(tmp_path / "mx01" / "mail.log.1.gz", *["Jan  1 06:25:01 mx01 postfix/qmgr[1]: x"] * 50)
    path.write_bytes(path.read_bytes()[:-8])
    assert [r.end for r in plan(path)] == [None]


def test_what_cannot_be_had_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for pattern in (tmp_path / "nothing", tmp_path / "*" / "*.log", tmp_path):
        with pytest.raises(HoptraceError) as error:
            plan(pattern)
        assert str(error.value).startswith(f"{pattern}: names no file; check the path")
    path = write(tmp_path / "mx01" / "mail.log", "Jan  1 06:25:01 mx01 x: y")
    real = Path.open

    def refuse(self: Path, *args: object, **named: object) -> object:
        if self == path:
            raise PermissionError(13, "Permission denied", str(path))
        return real(self, *args, **named)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(
        HoptraceError, match=r"mail.log: cannot be read \(Permission denied\); run as a user who may read it"
    ):
        plan(path)


def test_a_link_that_leads_nowhere_is_told(tmp_path: Path) -> None:
    (tmp_path / "mail.log").symlink_to(tmp_path / "gone")
    with pytest.raises(HoptraceError, match=r"mail.log: cannot be read \(No such file or directory\); check the path"):
        plan(tmp_path / "mail.log")
