"""Log as an enemy would write it: lines of every grammar, spliced, stretched, cut and littered with the log's own syntax."""

from random import Random

from hoptrace.schemas.toml import read_toml
from tests import oracle

HEADS = (
    b"2026-01-02T06:28:31.5+00:00 mx01 ",
    b"Jan  2 06:28:31 mx01 ",
    b"<22>1 2026-01-02T06:28:31Z mx01 ",
    b"2026-01-02 06:28:31 ",
    b"2026-01-02T06:28:32Z mx02 ",
)
EXAMPLES = tuple(
    row["example"].encode()
    for path in sorted(oracle.GRAMMARS.glob("*.toml"))
    if "tags" in (grammar := read_toml(path.read_bytes()))
    for row in grammar["row"]
)
SIGNS = (
    b"<", b">", b"(", b")", b"[", b"]", b'"', b"'", b"\\", b", ", b": ", b"; ", b" ", b"=", b"\t", b"\r", b"\0", b"\x1b[2J",
    b"\xff", b"\xe6", b"\xc3", b"\xf0\x9f", b"\xe2\x80\xa8", b"\n", b"\n\n", b"message repeated 3 times: [ ",
    b"last message repeated 2 times", b" [2/3] ", b"4ddwjK3DcKzY0: ", b"NOQUEUE: ", b"to=<a@b>, status=sent (250 ok)", b"-1",
    b"99999999999999999999", b"to=<", b"from=<", b"status=", b"message-id=<", b"->", b"<=", b"=>", b"{", b"}", b"%s",
)  # fmt: skip


def mutate(line: bytes, random: Random, longest: int = 400) -> bytes:
    """The line after up to four changes, each of one of eight kinds."""
    for _ in range(random.randrange(5)):
        i, j = sorted(random.randrange(len(line) + 1) for _ in range(2))
        change = random.randrange(8)
        if change == 0:
            line = line[:i]
        elif change == 1:
            line = line[:i] + line[j:]
        elif change == 2:
            line = line[:i] + line[i:j] * random.randrange(1, 2 + longest // (j - i + 1)) + line[j:]
        elif change == 3:
            line = line[:i] + bytes([random.randrange(256)]) + line[i + 1 :]
        elif change == 4:
            line = line[:i] + random.choice(EXAMPLES)[: j - i] + line[j:]
        elif change == 5:
            line = line[:i] + random.choice(SIGNS) * random.choice((1, 1, 1, longest // 16)) + line[i:]
        elif change == 6:
            line = line[:i] + random.choice(EXAMPLES)
        else:
            line = line[:i] + random.choice(SIGNS) + line[i:j] + random.choice(SIGNS) + line[j:]
    return line


def write_log(random: Random, lines: int, longest: int = 400) -> bytes:
    """Log of about so many lines, some of them without a head."""
    heads = [*HEADS, *HEADS, b""]
    return b"".join(
        mutate(random.choice(heads) + mutate(random.choice(EXAMPLES), random, longest), Random(random.random()), 8)
        + b"\n"
        if random.random() < 0.2
        else random.choice(heads) + mutate(random.choice(EXAMPLES), random, longest) + b"\n"
        for _ in range(lines)
    )


def stretch(line: bytes, size: int, random: Random) -> bytes:
    """The line with a part of its text repeated until it has about `size` bytes; now and then what followed is gone."""
    start = line.index(b": ") + 2
    i = random.randrange(start, len(line))
    j = min(len(line), i + random.choice((1, 2, 3, 5, 8, 13, 40)))
    return line[:i] + line[i:j] * (size // (j - i)) + (b"" if random.random() < 0.3 else line[j:])
