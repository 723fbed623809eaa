"""What a Postfix fleet logs while mail passes through it, as columns: sessions, stays, deliveries, refusals."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from people import BOUNCES, DEFERRALS, REJECTS, World, message_ids, strangers
from strings import BASE_64, HEX, Array, pick, queue_ids, random_letters, seconds

SECOND = 1_000_000
BACKOFF = np.cumsum([0, 300, 600, 1200, 2400, *[4000] * 12]) * SECOND
ROLES = ("web", "smtp", "relay", "mx", "store")
LINES = {"host": pl.UInt16, "at": pl.Int64, "line": pl.String}
TLS = "TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)"


@dataclass(frozen=True)
class Fleet:
    """names of the hosts, their addresses, and which of them do what."""

    names: pl.Series
    ips: pl.Series
    members: dict[str, Array]


def make_fleet(sizes: dict[str, int]) -> Fleet:
    """Hosts by role."""
    names: list[str] = []
    ips: list[str] = []
    members: dict[str, Array] = {}
    for net, role in enumerate(ROLES):
        members[role] = np.arange(len(names), len(names) + sizes[role])
        names += [f"{role}{n + 1:02}" for n in range(sizes[role])]
        ips += [f"10.20.{net}.{n + 11}" for n in range(sizes[role])]
    return Fleet(pl.Series(names), pl.Series(ips), members)


@dataclass
class Stays:
    """Messages in queues, a row each: host, queue ID, when it came and was queued, and what it is."""

    host: Array
    queue_id: pl.Series
    at: Array
    queued: Array
    message: "Messages"


@dataclass
class Messages:
    """sender, message_id, size; `of` and `to`: a row per recipient, its message's row and the address."""

    sender: pl.Series
    message_id: pl.Series
    size: Array
    of: Array
    to: pl.Series

    @property
    def count(self) -> Array:
        """Recipients of each message."""
        return np.bincount(self.of, minlength=len(self.sender))


class Mail:
    """Makes lines; `frames` collects them."""

    def __init__(self, rng: np.random.Generator, world: World, fleet: Fleet) -> None:
        self.rng, self.world, self.fleet = rng, world, fleet
        self.frames: list[pl.DataFrame] = []

    def say(self, host: Array, at: Array, form: str, *parts: Any) -> None:
        """One line per row: `form` begins with the program, each {} takes the next part."""
        if not len(host):
            return
        values = [
            pl.lit(part if isinstance(part, pl.Series) else pl.Series(part))
            if not isinstance(part, str)
            else pl.lit(part)
            for part in parts
        ]
        self.frames.append(
            pl.select(
                host=pl.lit(pl.Series(host, dtype=pl.UInt16)), at=pl.lit(pl.Series(at)), line=pl.format(form, *values)
            )
        )

    def spread(self, rows: int, least: float, middle: float) -> Array:
        """Microseconds: at least `least` seconds, with a long tail above `middle`."""
        return ((least + middle * self.rng.lognormal(0, 1.0, rows)) * SECOND).astype(np.int64)

    def choose(self, role: str, rows: int) -> Array:
        """Hosts that do this."""
        members = self.fleet.members[role]
        return members[self.rng.integers(0, members.size, rows)]

    def pids(self, rows: int) -> Array:
        """Process IDs, no two near each other the same."""
        return 1_000 + (int(self.rng.integers(0, 60_000)) + np.arange(rows)) % 60_000

    def name(self, host: Array) -> pl.Series:
        """name[ip] of hosts of ours, as others log them."""
        at = pl.Series(host)
        return self.fleet.names.gather(at) + ".post.example[" + self.fleet.ips.gather(at) + "]"

    def messages(self, sender: pl.Series, of: Array, to: pl.Series) -> Messages:
        """Messages of those senders."""
        size = (2_000 * self.rng.lognormal(0, 1.6, len(sender))).astype(np.int64) + 300
        return Messages(sender, message_ids(self.rng, sender.str.extract("@(.*)$")), size, of, to)

    def counts(self, rows: int, large: float) -> Array:
        """The row of its message for every recipient: most have one, a share of `large` goes to a list."""
        count = 1 + (self.rng.random(rows) < 0.15) * self.rng.geometric(0.45, rows)
        count = np.where(self.rng.random(rows) < large, self.rng.integers(20, 50, rows), count)
        return np.repeat(np.arange(rows), count)

    def accept(self, host: Array, at: Array, message: Messages, client: pl.Series, how: str = "smtp") -> Stays:
        """A session that brings each message, by smtp, submission or pickup; or a notice, which comes from nowhere."""
        rng, rows = self.rng, host.size
        queue_id = queue_ids(rng, at)
        queued = at + self.spread(rows, 0.01, 0.08)
        if how == "pickup":
            self.say(
                host,
                at,
                "postfix/pickup[{}]: {}: uid=33 from=<{}>",
                self.pids(rows) % 50 + 600,
                queue_id,
                message.sender,
            )
        elif how != "notice":
            pid, program = self.pids(rows), "postfix/smtpd" if how == "smtp" else "postfix/submission/smtpd"
            auth = "" if how == "smtp" else " auth=1"
            self.say(host, at - self.spread(rows, 0.01, 0.05), program + "[{}]: connect from {}", pid, client)
            tls = np.flatnonzero(rng.random(rows) < 0.6)
            self.say(
                host[tls],
                at[tls] - 5_000,
                program + "[{}]: Anonymous TLS connection established from {}: " + TLS,
                pid[tls],
                client.gather(tls),
            )
            if how == "smtp":
                self.say(host, at, program + "[{}]: {}: client={}", pid, queue_id, client)
            else:
                self.say(
                    host,
                    at,
                    program + "[{}]: {}: client={}, sasl_method=PLAIN, sasl_username={}",
                    pid,
                    queue_id,
                    client,
                    message.sender,
                )
            self.say(
                host,
                queued + 3_000,
                program
                + "[{}]: disconnect from {} ehlo=2 starttls=1"
                + auth
                + " mail=1 rcpt={} data=1 quit=1 commands={}",
                pid,
                client,
                message.count,
                message.count + 6,
            )
            odd = np.flatnonzero(rng.random(rows) < 0.15)
            self.say(
                host[odd],
                at[odd] + SECOND * 60,
                "postfix/anvil[{}]: statistics: max connection rate 2/60s for (smtpd:{}) at Mar 17 09:10:11",
                pid[odd] % 7 + 500,
                client.gather(odd).str.extract(r"\[(.*)\]"),
            )
        self.say(
            host, at + 4_000, "postfix/cleanup[{}]: {}: message-id=<{}>", self.pids(rows), queue_id, message.message_id
        )
        self.say(
            host,
            queued,
            "postfix/qmgr[877]: {}: from=<{}>, size={}, nrcpt={} (queue active)",
            queue_id,
            message.sender,
            message.size,
            message.count,
        )
        return Stays(host, queue_id, at, queued, message)

    def attempt(
        self, stays: Stays, of: Array, at: Array, busy: tuple[Array, Array], said: tuple[Any, ...], daemon: str = "smtp"
    ) -> None:
        """One try per row of `of`; busy: connect, transmit; said: recipient (`orig_to`), relay, dsn, status, reply."""
        connect, transmit = busy
        recipient, relay, dsn, status, reply = said
        before = stays.queued[of] - stays.at[of]
        waited = at - stays.queued[of] - connect - transmit
        self.say(
            stays.host[of],
            at,
            "postfix/" + daemon + "[{}]: {}: to=<{}, relay={}, delay={}, delays={}/{}/{}/{}, dsn={}, status={} ({})",
            self.pids(of.size),
            stays.queue_id.gather(of),
            recipient,
            relay,
            seconds(at - stays.at[of]),
            seconds(before),
            seconds(waited),
            seconds(connect),
            seconds(transmit),
            dsn,
            status,
            reply,
        )

    def remove(self, stays: Stays, of: Array, at: Array) -> None:
        """The queue is done with a message after its last try."""
        last = stays.queued.copy()
        np.maximum.at(last, of, at)
        self.say(stays.host, last + 500, "postfix/qmgr[877]: {}: removed", stays.queue_id)

    def hand_over(self, stays: Stays, role: str) -> Stays:
        """All messages to hosts of ours, whole; the reply names the queue ID there."""
        rows, message = stays.host.size, stays.message
        to = self.choose(role, rows)
        connect, begun = self.spread(rows, 0, 0.01), stays.queued + self.spread(rows, 0, 0.02)
        there = self.accept(to, begun + connect, message, self.name(stays.host))
        done = there.queued + 2_000
        of = message.of
        tls = np.flatnonzero(self.rng.random(rows) < 0.3)
        relay = self.name(to)
        self.say(
            stays.host[tls],
            begun[tls] + 1_000,
            "postfix/smtp[{}]: Untrusted TLS connection established to {}:25: " + TLS,
            self.pids(tls.size),
            relay.gather(tls),
        )
        reply = "250 2.0.0 Ok: queued as " + there.queue_id
        said = (message.to + ">", relay.gather(of) + ":25", "2.0.0", "sent", reply.gather(of))
        self.attempt(stays, of, done[of], (connect[of], (done - begun - connect)[of]), said)
        self.remove(stays, of, done[of])
        return there

    def store(self, stays: Stays) -> None:
        """All messages into mailboxes, by LMTP to a Dovecot host."""
        rng, message, of = self.rng, stays.message, stays.message.of
        rows = stays.host.size
        to = self.choose("store", rows)
        ip = self.fleet.ips.gather(to)
        token = random_letters(rng, rows, 13, BASE_64) + "AAA0O7/Qg"
        first = np.concatenate([[True], of[1:] != of[:-1]])
        starts = np.flatnonzero(first)
        ordinal = np.arange(of.size) - np.repeat(starts, np.diff(starts, append=of.size)) + 1
        suffix = pl.select(
            pl.when(pl.lit(pl.Series(ordinal)) > 1)
            .then(pl.format(":R{}", pl.lit(pl.Series(ordinal))))
            .otherwise(pl.lit(""))
        ).to_series()
        session = token.gather(of) + suffix
        begun = stays.queued + self.spread(rows, 0, 0.02)
        kept = begun[of] + self.spread(of.size, 0.005, 0.02)
        pid = self.pids(rows)
        self.say(to, begun, "dovecot: lmtp({}): Connect from {}", pid, self.fleet.ips.gather(pl.Series(stays.host)))
        box = pick(rng, ["INBOX", "Spam", "Lister", "Arkiv/2026"], of.size, [90, 5, 3, 2])
        held = (message.to, pid[of], session)
        msgid = message.message_id.gather(of)
        self.say(
            to[of],
            kept,
            "dovecot: lmtp({})<{}><{}>: save: box={}, uid={}, msgid=<{}>, size={}",
            *held,
            box,
            rng.integers(1, 90_000, of.size),
            msgid,
            message.size[of],
        )
        self.say(
            to[of],
            kept + 200,
            "dovecot: lmtp({})<{}><{}>: sieve: msgid=<{}>: stored mail into mailbox '{}'",
            *held,
            msgid,
            box,
        )
        last = begun.copy()
        np.maximum.at(last, of, kept)
        self.say(
            to,
            last + 2_000,
            "dovecot: lmtp({}): Disconnect from {}: Logged out (state=READY)",
            pid,
            self.fleet.ips.gather(pl.Series(stays.host)),
        )
        user = message.to
        alias = pl.Series(rng.random(of.size) < 0.06)
        named = (user + ">").zip_with(
            ~alias,
            user
            + ">, orig_to=<"
            + pick(rng, ["info", "salg", "post"], of.size, [2, 1, 1])
            + "@"
            + user.str.extract("@(.*)$")
            + ">",
        )
        relay = (ip + "[" + ip + "]:24").gather(of)
        reply = pl.select(pl.format("250 2.0.0 <{}> {} Saved", user, session)).to_series()
        self.attempt(
            stays,
            of,
            kept + 1_000,
            (np.zeros(of.size, np.int64), kept + 1_000 - begun[of]),
            (named, relay, "2.0.0", "sent", reply),
            "lmtp",
        )
        self.remove(stays, of, kept + 1_000)

    def send(self, stays: Stays, mx: pl.Series) -> None:
        """All messages to the world: `mx` per recipient. Some are deferred, again and again; some bounce."""
        rng, message, of = self.rng, stays.message, stays.message.of
        rows = of.size
        tries = np.where(rng.random(rows) < 0.05, np.minimum(rng.geometric(0.35, rows), BACKOFF.size - 1), 0)
        begun = stays.queued[of] + self.spread(rows, 0, 0.03)
        jitter = rng.integers(0, 60 * SECOND, rows)
        again = np.repeat(np.arange(rows), tries)
        nth = np.arange(again.size) - np.repeat(np.cumsum(tries) - tries, tries)
        why = filled(pick(rng, DEFERRALS, rows, [3, 2, 2, 1, 1, 3, 1]), mx)
        late = np.where(nth > 0, jitter[again], 0)
        took = (self.spread(again.size, 0, 0.05), self.spread(again.size, 0.05, 0.6))
        none = pl.Series(rng.random(rows) < 0.3).gather(again)
        relay = (mx + ":25").gather(again)
        relay = pl.repeat("none", again.size, eager=True).zip_with(none, relay)
        self.attempt(
            stays,
            of[again],
            begun[again] + BACKOFF[nth] + late + sum(took),
            took,
            (message.to.gather(again) + ">", relay, "4.0.0", "deferred", why.gather(again)),
        )
        took = (self.spread(rows, 0, 0.05), self.spread(rows, 0.05, 0.4))
        final = begun + BACKOFF[tries] + np.where(tries > 0, jitter, 0) + sum(took)
        lost = rng.random(rows) < np.where(tries > 0, 0.15, 0.02)
        text = filled(pick(rng, BOUNCES, rows, [6, 2, 1, 1]), mx).zip_with(
            pl.Series(~lost), remote_replies(rng, rows, message.message_id.gather(of))
        )
        status = pl.Series(np.where(lost, "bounced", "sent"))
        self.attempt(
            stays,
            of,
            final,
            took,
            (message.to + ">", mx + ":25", pl.Series(np.where(lost, "5.0.0", "2.0.0")), status, text),
        )
        self.remove(stays, of, final)
        back, first = np.unique(of[lost], return_index=True)
        if back.size and len(message.sender):
            self.give_back(stays, back, final[lost][first] + 1_000)

    def give_back(self, stays: Stays, back: Array, at: Array) -> None:
        """Notices of non-delivery about those stays, to our own users."""
        sender = stays.message.sender.gather(back)
        nobody = pl.repeat("", back.size, eager=True)
        notice = Messages(
            nobody,
            stays.queue_id.gather(back) + "." + random_letters(self.rng, back.size, 6, HEX) + "@post.example",
            stays.message.size[back] + 2_000,
            np.arange(back.size),
            sender,
        )
        there = self.accept(stays.host[back], at, notice, nobody, "notice")
        self.say(
            stays.host[back],
            at + 5_000,
            "postfix/bounce[{}]: {}: sender non-delivery notification: {}",
            self.pids(back.size),
            stays.queue_id.gather(back),
            there.queue_id,
        )
        self.store(self.hand_over(there, "mx"))

    def clients(self, rows: int) -> pl.DataFrame:
        """Clients from outside, some often."""
        return self.world.clients[pl.Series((self.world.clients.height ** self.rng.random(rows) - 1).astype(np.int64))]

    def refuse(
        self, host: Array, at: Array, client: pl.DataFrame, who: tuple[pl.Series, pl.Series], text: pl.Series
    ) -> None:
        """Sessions that end with a refusal at RCPT TO."""
        pid, name = self.pids(host.size), client["name"]
        sender, to = who
        self.say(host, at, "postfix/smtpd[{}]: connect from {}", pid, name)
        self.say(
            host,
            at + 80_000,
            "postfix/smtpd[{}]: NOQUEUE: reject: RCPT from {}: {}; from=<{}> to=<{}> proto=ESMTP helo=<{}>",
            pid,
            name,
            text,
            sender,
            to,
            name.str.extract(r"^([^\[]*)"),
        )
        self.say(
            host,
            at + 120_000,
            "postfix/smtpd[{}]: disconnect from {} ehlo=1 mail=1 rcpt=0/1 quit=1 commands=3/4",
            pid,
            name,
        )

    def users(self, rows: int, large: float) -> tuple[Array, pl.Series]:
        """Recipients among our users, each once a message: the message's row, the address."""
        of = self.counts(rows, large)
        distinct = pl.DataFrame({"of": of, "to": pick(self.rng, self.world.users, of.size)}).unique(maintain_order=True)
        return distinct["of"].to_numpy(), distinct["to"]

    # The flows: `at` is when each message, or session, comes.

    def inbound(self, at: Array) -> None:
        """From the world into mailboxes; a tenth was greylisted first."""
        rows = at.size
        client = self.clients(rows)
        sender = strangers(self.rng, self.world, rows)["address"]
        of, to = self.users(rows, 0)
        message = self.messages(sender, of, to)
        host = self.choose("mx", rows)
        grey = np.flatnonzero(self.rng.random(rows) < 0.1)
        to = to.gather(np.searchsorted(of, grey))
        domain = to.str.extract("@(.*)$")
        said = pl.select(
            pl.format(
                "450 4.2.0 <{}>: Recipient address rejected: Greylisted, see http://postgrey.example/help/{}.html",
                to,
                domain,
            )
        ).to_series()
        self.refuse(host[grey], at[grey], client[grey], (sender.gather(grey), to), said)
        at = at.copy()
        at[grey] += self.rng.integers(300, 2400, grey.size) * SECOND
        self.store(self.accept(host, at, message, client["name"]))

    def outbound(self, at: Array, how: str = "submission") -> None:
        """From users, or web sites, over relays to the world."""
        rows = at.size
        of = self.counts(rows, 0.004)
        far = (
            strangers(self.rng, self.world, of.size)
            .with_columns(of=pl.Series(of))
            .unique(["of", "address"], maintain_order=True)
        )
        of = far["of"].to_numpy()
        message = self.messages(pick(self.rng, self.world.users, rows), of, far["address"])
        stays = self.accept(
            self.choose("web" if how == "pickup" else "smtp", rows), at, message, self.clients(rows)["name"], how
        )
        if how == "pickup":
            stays = self.hand_over(stays, "smtp")
        self.send(self.hand_over(stays, "relay"), far["mx"])

    def internal(self, at: Array) -> None:
        """From users to users."""
        rows = at.size
        message = self.messages(pick(self.rng, self.world.users, rows), *self.users(rows, 0.002))
        stays = self.accept(self.choose("smtp", rows), at, message, self.clients(rows)["name"], "submission")
        self.store(self.hand_over(stays, "mx"))

    def rejected(self, at: Array) -> None:
        """Spam and errors, refused at the door."""
        rows, client = at.size, self.clients(at.size)
        sender, to = strangers(self.rng, self.world, rows)["address"], pick(self.rng, self.world.users, rows)
        kind = self.rng.choice(len(REJECTS), rows, p=[0.6, 0.3, 0.05, 0.05])
        ip = client["ip"]
        text = pl.select(
            pl.lit(pl.Series(REJECTS).gather(pl.Series(kind)))
            .str.replace("{to}", pl.lit(to), literal=True)
            .str.replace_all("{ip}", pl.lit(ip), literal=True)
        ).to_series()
        self.refuse(self.choose("mx", rows), at, client, (sender, to), text)

    def noise(self, at: Array) -> None:
        """Scanners, password guessers, names that do not resolve."""
        rows, client = at.size, self.clients(at.size)
        host, pid, name = self.choose("mx", rows), self.pids(at.size), client["name"]
        guess = np.flatnonzero(self.rng.random(rows) < 0.6)
        self.say(host, at, "postfix/smtpd[{}]: connect from {}", pid, name)
        self.say(
            host[guess],
            at[guess] + 400_000,
            "postfix/smtpd[{}]: warning: {}: SASL LOGIN authentication failed: UGFzc3dvcmQ6",
            pid[guess],
            name.gather(guess),
        )
        self.say(host, at + SECOND, "postfix/smtpd[{}]: lost connection after AUTH from {}", pid, name)
        self.say(
            host, at + SECOND + 100, "postfix/smtpd[{}]: disconnect from {} ehlo=1 auth=0/1 commands=1/2", pid, name
        )


SHARES = {"inbound": 0.40, "outbound": 0.17, "internal": 0.09, "site": 0.04, "rejected": 0.22, "noise": 0.08}


def make_mail(mail: Mail, at: Array) -> None:
    """All flows, in their shares of the arrivals."""
    flow = mail.rng.choice(len(SHARES), at.size, p=list(SHARES.values()))
    inbound, outbound, internal, site, rejected, noise = (at[flow == n] for n in range(len(SHARES)))
    mail.inbound(inbound)
    mail.outbound(outbound)
    mail.internal(internal)
    mail.outbound(site, "pickup")
    mail.rejected(rejected)
    mail.noise(noise)


def filled(form: pl.Series, value: pl.Series) -> pl.Series:
    """`form` with {} replaced by `value`, row by row."""
    return pl.select(pl.lit(form).str.replace("{}", pl.lit(value), literal=True)).to_series()


def remote_replies(rng: np.random.Generator, rows: int, message_id: pl.Series) -> pl.Series:
    """What servers of the world say when they take a message."""
    token = random_letters(rng, rows, 16, HEX)
    forms = pick(
        rng,
        [
            "250 2.0.0 Ok: queued as {t}",
            "250 2.0.0 OK  1773700000 {t}-41be03si2402.166 - gsmtp",
            "250 OK id=1w2Xe6-0007Sp-{t}",
            "250 2.6.0 <{m}> [InternalId=44560221536324, Hostname=DB7PR04MB5081.example] "
            "12345 bytes in 0.187, 64.392 KB/sec Queued mail for delivery",
            "250 ok:  Message 77834 accepted",
        ],
        rows,
        [4, 4, 1, 3, 1],
    )
    return pl.select(
        pl.lit(forms)
        .str.replace("{t}", pl.lit(token), literal=True)
        .str.replace("{m}", pl.lit(message_id), literal=True)
    ).to_series()
