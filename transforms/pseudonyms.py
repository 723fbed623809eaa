"""Keyed pseudonyms: what is personal in a table, written so that equal stays equal and only the key's holder can tell who it is.

A pseudonym is a letter that says of what, a dash, and 16 hexadecimal digits of a keyed BLAKE2b (RFC 7693) of the value in lower
case: p- a person (what stands before the @, or a user's name), d- a domain, h- a host, ip- an IP address, f- a folder, s- a
session. The state that goes from night to night is encrypted instead, with AES-SIV (RFC 5297), so that the next night reads what
the logs said.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import polars as pl

from hoptrace.schemas.delay_stats import DELAY_STATS, OTHER
from hoptrace.schemas.errors import HoptraceError
from hoptrace.schemas.fleet import folded, is_address
from hoptrace.schemas.table import Table

C = pl.col
DIGITS = 16
SEALED = "sealed:"
PSEUDONYM = re.compile(rf"(?<![0-9A-Za-z-])(?:[pdhfs]|ip)-[0-9a-f]{{{DIGITS}}}(?![0-9A-Za-z])")
WORDS = frozenset({"", "unknown", "none", "local", "localhost", "outside", OTHER})
"""What stands where a host's name may stand, and is none."""

REGISTRIES = frozenset(
    {"ac", "co", "com", "edu", "go", "gob", "gov", "gv", "ltd", "me", "ne", "net", "nom", "or", "org", "plc"}
)
"""Second labels under which countries register domains: co.uk, com.au."""

FOLDERS = frozenset({
    "inbox", "sent", "sent items", "sent messages", "drafts", "junk", "junk e-mail", "spam", "trash", "deleted items",
    "deleted messages", "archive", "outbox", "templates", "notes",
})  # fmt: skip
"""Folders that everybody has, in lower case."""

NAMELESS_SESSIONS = ("lmtp", "lda", "doveadm")
"""Protocols whose session IDs hold no address of a person's program; those of logins do (Dovecot, login-common, client_get_session_id)."""

IPV4 = r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}"
TOKENS = (
    r"<[^<>]{1,320}?(?:@|%40)[^<>\s]*>",  # an address in its brackets, whatever is quoted in it
    r"(?:\"[^\"]{1,128}\"|[^\s<>\"(),;:\[\]{}|?&]+)(?:@|%40)(?:\[[^\]\s]*\]|[\p{L}\p{N}](?:[\p{L}\p{N}._-]*[\p{L}\p{N}])?)",
    r"\b[\w-]*[0-9]{1,3}-[0-9]{1,3}-[0-9]{1,3}-[0-9]{1,3}[\w-]*(?:\.[\w-]+)+",  # a host's name made of its address
    rf"\b[0-9A-Fa-f]{{1,4}}:(?:[0-9A-Fa-f]{{0,4}}:){{1,6}}(?:{IPV4}|[0-9A-Fa-f]{{0,4}})",
    rf"\b{IPV4}\b",
)
NAMED_HOST = r"\b[\w-]+(?:\.[\w-]+)*\.[A-Za-z][A-Za-z0-9-]+\b"
MARK = "\U000f0000"
"""Stands where a token was; a private character, which logs do not have (where one does, it goes)."""

KEYED = re.compile(r"((?!srs|prvs=|btv1=)[a-z][a-z_-]*=)(.+)", re.DOTALL)
"""`to=anna@klub.test`: a key of the text, and not the first part of an address as SRS and BATV write it."""


@dataclass(frozen=True)
class Pseudonyms:
    """Pseudonyms by `secret` (the key file's bytes); `domains`: of domains too."""

    secret: bytes = field(repr=False)
    domains: bool = False

    @cached_property
    def fingerprint(self) -> str:
        """What the table `nights` says of the key, which it does not tell."""
        return self._derived(b"fingerprint").hex()[:DIGITS]

    @property
    def told(self) -> str:
        """What `nights` says of how a night is written."""
        return f"{self.fingerprint} domains" if self.domains else self.fingerprint

    def hide(self, table: Table, rows: pl.DataFrame) -> pl.DataFrame:
        """`rows` of `table` with its personal columns as pseudonyms; those of a sealed table encrypted."""
        if not rows.height or not table.personal:
            return rows
        if table.sealed:
            return self.seal(table, rows)
        if table.name == DELAY_STATS.name:
            return rows.with_columns(value=self._values(rows["dimension"], rows["value"]))
        plain = {column: kind for column, kind in table.personal.items() if "." not in column}
        hidden = rows.with_columns(self.series(rows[column], kind) for column, kind in plain.items())
        if "session" in plain:
            hidden = hidden.with_columns(
                session=pl.when(rows["protocol"].is_in(NAMELESS_SESSIONS)).then(rows["session"]).otherwise("session")
            )
        if "reply" in plain:
            names = [rows[column] for column, kind in plain.items() if kind in ("address", "user")]
            hidden = hidden.with_columns(reply=self._unnamed(hidden["reply"], names))
        if any("." in column for column in table.personal):
            hidden = hidden.with_columns(hops=self._stays(rows))
        return hidden

    def series(self, values: pl.Series, kind: str) -> pl.Series:
        """A column of this kind as pseudonyms."""
        if kind == "text":
            return self._texts(values)
        if kind == "template":
            return self._texts(values) if self.domains else values
        return changed(values, self.function(kind))

    def function(self, kind: str) -> Callable[[str], str]:
        """What one value of this kind becomes."""
        functions: dict[str, Callable[[str], str]] = {
            "address": self.address, "user": self.address, "ip": self.ip, "host": self.host, "server": self.server,
            "message_id": self.message_id, "folder": self.folder, "session": self.session,
        }  # fmt: skip
        return functions[kind]

    def person(self, text: str) -> str:
        """What stands before an @, or a user's name."""
        return "p-" + self._digits(b"person", text.lower()) if text else text

    def domain(self, text: str) -> str:
        """A domain: as it is, unless domains are asked for."""
        if not self.domains or text in WORDS:
            return text
        return f"d-{self._digits(b'domain', text.lower())}.invalid"

    def address(self, text: str) -> str:
        """A mail address, in parts that stay comparable; a text without @ as a user's name."""
        local, sign, domain = text.rpartition("@")
        if not sign:
            return self.person(text.strip('"'))
        return f"{self.person(local.strip(chr(34)))}@{self._literal(domain) or self.domain(domain)}"

    def ip(self, text: str) -> str:
        """An IP address, however it is written."""
        known = folded(text)
        return "ip-" + self._digits(b"ip", known) if is_address(known) else self.host(text)

    def host(self, text: str) -> str:
        """A host of somebody's own: its address or name, of which the domain stays where domains do."""
        if text.lower() in WORDS:
            return text
        if literal := self._literal(text):
            return literal
        if is_address(folded(text)):
            return self.ip(text)
        labels = text.rstrip(".").split(".")
        if self.domains and len(labels) > 1:
            return self.domain(text)
        kept = 3 if len(labels[-1]) == 2 and labels[-2:-1] and labels[-2].lower() in REGISTRIES else 2
        if 1 < len(labels) <= kept:
            return text
        return ".".join(["h-" + self._digits(b"host", text.lower()), *(labels[-kept:] if len(labels) > 1 else [])])

    def server(self, text: str) -> str:
        """A server that takes mail: its address, or its name, which is a domain's."""
        if text.lower() in WORDS or ("." not in text and ":" not in text):
            return text
        if is_address(folded(text)) or self._literal(text) or re.search(TOKENS[2], text):
            return self.host(text)
        return self.domain(text)

    def message_id(self, text: str) -> str:
        """A Message-ID, whose first part may be an address and whose second a host of somebody's own."""
        local, sign, host = text.rpartition("@")
        return f"{self.person(local)}@{self.host(host)}" if sign else self.person(text)

    def folder(self, text: str) -> str:
        """A mailbox folder, but for those that everybody has."""
        return text if text.lower() in FOLDERS or not text else "f-" + self._digits(b"folder", text)

    def session(self, text: str) -> str:
        """A login's session ID."""
        return "s-" + self._digits(b"session", text) if text else text

    def asked(self, text: str) -> str:
        """A regular expression that addresses in lower case fit, as pseudonyms, of which `text` is asked for in clear.

        Before the @ whole names are found only; after it parts of domains, where those are in clear.
        """
        if PSEUDONYM.search(text):
            return re.escape(text.lower())
        local, sign, domain = text.rpartition("@")
        if sign:
            return re.escape(f"{self.person(local)}@{self.domain(domain).lower()}")
        after = "@" + re.escape(self.domain(text)) if self.domains else "@.*" + re.escape(text.lower())
        return f"{self.person(text)}|{after}"

    def seal(self, table: Table, rows: pl.DataFrame) -> pl.DataFrame:
        """`rows` with the personal columns of `table` encrypted; equal values stay equal, null and '' stay themselves."""
        cipher = self._cipher

        def sealed(text: str) -> str:
            return SEALED + base64.b64encode(cipher.encrypt(text.encode(), None)).decode() if text else text

        return rows.with_columns(changed(rows[column], sealed) for column in table.personal)

    def unseal(self, table: Table, rows: pl.DataFrame) -> pl.DataFrame:
        """What `seal` was given; raises HoptraceError where another key sealed it."""
        from cryptography.exceptions import InvalidTag

        cipher = self._cipher

        def opened(text: str) -> str:
            if not text:
                return text
            try:
                return str(cipher.decrypt(base64.b64decode(text.removeprefix(SEALED)), None), "utf-8")
            except (InvalidTag, ValueError) as error:
                raise HoptraceError(
                    f"{table.name}: the state of the night before cannot be read with this key; give --pseudonymise the "
                    "key file that wrote it"
                ) from error

        return rows.with_columns(changed(rows[column], opened) for column in table.personal)

    @property
    def _cipher(self) -> Any:
        from cryptography.hazmat.primitives.ciphers.aead import AESSIV

        return AESSIV(self._derived(b"state"))

    @cached_property
    def _key(self) -> bytes:
        return self._derived(b"pseudonyms")

    def _derived(self, purpose: bytes) -> bytes:
        return hmac.digest(self.secret, b"hoptrace " + purpose, "sha512")

    def _digits(self, what: bytes, text: str) -> str:
        return hashlib.blake2b(text.encode(), digest_size=DIGITS // 2, key=self._key, person=what).hexdigest()

    def _literal(self, text: str) -> str:
        """`[192.0.2.1]` or `[IPv6:2001:db8::1]` with its address hidden; '' for other texts."""
        inside = text[1:-1] if text.startswith("[") and text.endswith("]") else ""
        return f"[{self.ip(inside)}]" if is_address(folded(inside)) else ""

    def _token(self, token: str) -> str:
        """What a token of a free text becomes."""
        if token.startswith("<"):
            return f"<{self._token_address(token[1:-1])}>"
        if "@" in token or "%40" in token:
            return self._token_address(token)
        if is_address(token):
            return self.ip(token)
        if re.fullmatch(TOKENS[2], token):
            return self.host(token)
        if ":" in token:
            bare = token.rstrip(":")
            return self.ip(bare) + token[len(bare) :] if is_address(bare) else token
        return self.domain(token) if self.domains else token

    def _token_address(self, token: str) -> str:
        bare = token.lstrip("'`=")
        before = token[: len(token) - len(bare)]
        if keyed := KEYED.fullmatch(bare):
            before, bare = before + keyed[1], keyed[2]
        sign = "@" if "@" in bare else "%40"
        return before + self.address(bare.replace("%40", "@")).replace("@", sign)

    def _texts(self, texts: pl.Series) -> pl.Series:
        """Free texts, with the addresses, IP addresses and, where asked for, domains in them as pseudonyms."""
        pattern = "|".join((*TOKENS, NAMED_HOST) if self.domains else TOKENS)
        distinct = texts.drop_nulls().unique()
        told = pl.DataFrame({"from": distinct.filter(distinct.str.contains(pattern))}).with_row_index("row")
        if told.is_empty():
            return texts
        clean = C("from").str.replace_all(MARK, "", literal=True)
        parts = told.select(
            "row", token=clean.str.extract_all(pattern), piece=clean.str.replace_all(pattern, MARK).str.split(MARK)
        )
        tokens = parts.select("row", text="token").explode("text", empty_as_null=False)
        tokens = tokens.with_columns(
            changed(tokens["text"], self._token), at=pl.int_range(pl.len()).over("row") * 2 + 1
        )
        pieces = parts.select("row", text="piece").explode("text")
        pieces = pieces.with_columns(at=pl.int_range(pl.len()).over("row") * 2)
        whole = pl.concat([tokens, pieces]).sort("row", "at").group_by("row").agg(C("text").str.join("").alias("to"))
        return translated(texts, told.join(whole, on="row").select("from", "to"))

    def _unnamed(self, texts: pl.Series, names: list[pl.Series]) -> pl.Series:
        """`texts` in which the name of the person whose row it is (what stands before the @ in `names`) is a pseudonym too."""
        for name in names:
            local = name.str.extract(r"^\"?([^\"@]{2,})", 1)
            named = C("text").str.to_lowercase().str.contains(C("local").str.to_lowercase(), literal=True)
            pairs = pl.DataFrame({"text": texts, "local": local}).filter(named).unique(maintain_order=True)
            if pairs.is_empty():
                continue
            rows = pairs.iter_rows()
            pairs = pairs.with_columns(
                to=pl.Series([self._without(text, local) for text, local in rows], dtype=pl.String)
            )
            both = pl.DataFrame({"text": texts, "local": local}).join(
                pairs, on=["text", "local"], how="left", maintain_order="left"
            )
            texts = both.select(pl.coalesce("to", "text").alias(texts.name)).to_series()
        return texts

    def _without(self, text: str, name: str) -> str:
        word = rf"(?<![\w.-]){re.escape(name)}(?![\w-]|\.\w|@)"
        return re.sub(word, lambda _: self.person(name), text, flags=re.IGNORECASE)

    def _stays(self, rows: pl.DataFrame) -> pl.Series:
        """The column `hops` of deliveries, with relays and replies hidden."""
        numbered = rows.with_row_index("row")
        each = numbered.select("row", "sender", "recipient", "original_recipient", "sasl_user", "hops").explode(
            "hops", empty_as_null=False, keep_nulls=False
        )
        stay = each["hops"].struct.unnest()
        names = [each[name] for name in ("sender", "recipient", "original_recipient", "sasl_user")]
        stay = stay.with_columns(
            relay=self._texts(stay["relay"]), reply=self._unnamed(self._texts(stay["reply"]), names)
        )
        told = pl.DataFrame({"row": each["row"], "told": stay.to_struct()}).group_by("row").agg("told")
        both = numbered.select("row", "hops").join(told, on="row", how="left", maintain_order="left")
        return both.select(hops=pl.coalesce("told", "hops")).to_series()

    def _values(self, dimension: pl.Series, value: pl.Series) -> pl.Series:
        """The values of `delay_stats`, of those dimensions that name domains or servers."""
        servers = changed(value.str.extract(r"([^>]*)$"), self.server)
        taker = value.str.extract(r"^(.*>)[^>]*$").fill_null("") + servers
        domains = changed(value, self.domain)
        rows = pl.DataFrame({"dimension": dimension, "value": value, "taker": taker, "domain": domains})
        return rows.select(
            value=pl.when(C("dimension").is_in(["recipient_domain", "sender_domain"]))
            .then("domain")
            .when(C("dimension").is_in(["next_hop", "hop"]))
            .then("taker")
            .otherwise("value")
        ).to_series()


def changed(values: pl.Series, function: Callable[[str], str]) -> pl.Series:
    """`values` with every distinct one as `function` has it; null stays null."""
    distinct = values.drop_nulls().unique()
    to = pl.Series([function(text) for text in distinct.to_list()], dtype=pl.String)
    return translated(values, pl.DataFrame({"from": distinct, "to": to}))


def translated(values: pl.Series, words: pl.DataFrame) -> pl.Series:
    """`values` with those in `words` (from, to) as they say."""
    both = pl.DataFrame({"from": values}).join(words, on="from", how="left", maintain_order="left")
    return both.select(pl.coalesce("to", "from").alias(values.name)).to_series()
