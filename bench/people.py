"""Who writes to whom: the provider's users, the domains and servers of the world, and what servers say."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from strings import HEX, pick, random_letters

C = pl.col
NAMES = (
    "anna", "bo", "camilla", "dorte", "emil", "frederik", "gitte", "hanne", "ida", "jens", "karen", "lars", "mette",
    "niels", "ole", "per", "rikke", "soren", "trine", "ulla", "viggo", "info", "kontakt", "faktura", "noreply",
    "nyhedsbrev", "support", "bounce",
)  # fmt: skip
WORDS = (
    "blomster", "bryg", "byg", "cykel", "dansk", "data", "fisk", "foto", "grill", "handel", "hus", "kaffe", "klub",
    "kunst", "maler", "marked", "musik", "nord", "post", "rejse", "salg", "service", "skole", "sport", "syd", "tand",
    "taxi", "tekst", "trae", "vest",
)  # fmt: skip
LARGE = (
    "gmail.example", "outlook.example", "hotmail.example", "yahoo.example", "icloud.example", "live.example",
    "mail.example", "firma.example",
)  # fmt: skip
DEFERRALS = (
    "host {} said: 450 4.7.1 Client host rejected: try again later (in reply to RCPT TO command)",
    "host {} said: 451 4.3.0 Temporary lookup failure (in reply to RCPT TO command)",
    "host {} said: 452 4.2.2 The email account that you tried to reach is over quota. "
    "https://support.example/mail/?p=OverQuotaTemp (in reply to RCPT TO command)",
    "host {} said: 421-4.7.28 Our system has detected an unusual rate of unsolicited mail originating from "
    "your IP address. 421 4.7.28 Please try again later (in reply to end of DATA command)",
    "lost connection with {} while receiving the initial server greeting",
    "connect to {}:25: Connection timed out",
    "conversation with {} timed out while sending message body",
)
BOUNCES = (
    "host {} said: 550 5.1.1 The email account that you tried to reach does not exist. "
    "Please try double-checking the recipient's address (in reply to RCPT TO command)",
    "host {} said: 550 5.7.1 Message rejected as spam by content filtering (in reply to end of DATA command)",
    "host {} said: 552 5.2.2 Mailbox full (in reply to RCPT TO command)",
    "host {} said: 554 5.7.1 Service unavailable; client host blocked using zen.rbl.example "
    "(in reply to MAIL FROM command)",
)
REJECTS = (
    "554 5.7.1 Service unavailable; Client host [{ip}] blocked using zen.rbl.example; https://www.rbl.example/query/ip/{ip}",
    "550 5.1.1 <{to}>: Recipient address rejected: User unknown in virtual mailbox table",
    "554 5.7.1 <{to}>: Relay access denied",
    "450 4.7.25 Client host rejected: cannot find your hostname, [{ip}]",
)


@dataclass(frozen=True)
class World:
    """users: addresses of ours. far: domain, mx (`name[ip]`). clients: name (`name[ip]`), ip."""

    users: pl.Series
    far: pl.DataFrame
    clients: pl.DataFrame


def addresses(rng: np.random.Generator, rows: int, first: int, spread: int) -> pl.Series:
    """IPv4 addresses."""
    parts = rng.integers(1, 255, (3, rows))
    return pl.select(
        pl.format(
            "{}.{}.{}.{}",
            pl.lit(pl.Series(first + rng.integers(0, spread, rows))),
            *(pl.lit(pl.Series(p)) for p in parts),
        )
    ).to_series()


def make_world(seed: int, users: int = 30_000, domains: int = 60_000, clients: int = 80_000) -> World:
    """The same for the same seed; the first of each list are the most frequent ones."""
    rng = np.random.default_rng([seed, 0])
    own = pick(rng, [f"{a}{b}.example" for a in WORDS[:8] for b in WORDS[8:13]], users)
    serial = pl.Series(np.arange(users)).cast(pl.String)
    names = pick(rng, NAMES, users, [1.0] * len(NAMES))
    halves = [pick(rng, WORDS, domains - len(LARGE), [1.0] * len(WORDS)) for _ in range(2)]
    numbers = pl.Series(np.arange(domains - len(LARGE))).cast(pl.String)
    tail = (
        halves[0]
        + "-"
        + halves[1]
        + numbers
        + pick(rng, [".example", ".test", ".dk.example", ".com.test"], domains - len(LARGE), [4, 2, 3, 1])
    )
    domain = pl.concat([pl.Series(LARGE), tail])
    mx = (
        pick(rng, ["mx.", "mx1.", "mail.", "smtp-in."], domains, [3, 3, 3, 1])
        + domain
        + "["
        + addresses(rng, domains, 130, 60)
        + "]"
    )
    ip = addresses(rng, clients, 20, 100)
    host = (
        pick(rng, ["mail-", "out", "smtp", "host-"], clients, [1, 1, 1, 1])
        + pl.Series(np.arange(clients)).cast(pl.String)
        + "."
        + pick(rng, domain, clients)
    )
    named = pl.Series(rng.random(clients) > 0.2)
    return World(
        names + serial + "@" + own,
        pl.DataFrame({"domain": domain, "mx": mx}),
        pl.DataFrame(
            {"name": host.zip_with(named, pl.repeat("unknown", clients, eager=True)) + "[" + ip + "]", "ip": ip}
        ),
    )


def strangers(rng: np.random.Generator, world: World, rows: int) -> pl.DataFrame:
    """address, mx of people elsewhere."""
    at = pl.Series((world.far.height ** rng.random(rows) - 1).astype(np.int64))
    far = world.far[at]
    local = pick(rng, NAMES, rows, [1.0] * len(NAMES)) + pl.Series(rng.integers(0, 4000, rows)).cast(pl.String)
    return far.select("mx", address=pl.lit(local) + "@" + C("domain"))


def message_ids(rng: np.random.Generator, domain: pl.Series) -> pl.Series:
    """Message-IDs without their brackets, as different programs make them."""
    rows = len(domain)
    front = pick(rng, ["CA", "", "DB7PR04MB", "20260317.", "JavaMail.", "E1v"], rows, [3, 4, 2, 2, 1, 1])
    middle = pick(rng, ["@mail.", "@", "@www.", "-1a@"], rows, [3, 5, 1, 1])
    return front + random_letters(rng, rows, 28, HEX) + middle + domain
