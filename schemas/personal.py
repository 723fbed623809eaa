"""What is personal in a column, kind by kind: what stands there, and what `nightly --pseudonymise` writes instead.

A table names the kind of each of its personal columns (`Table.personal`); the pages of docs/privacy.md that tell of tables are made
of that, and `transforms.pseudonyms` goes by it: python -m hoptrace.schemas.personal > docs/personal.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A kind of personal data: what it holds, what is written instead, and an example: in clear, as written by a key of 32 zero
    bytes, and the same where domains are pseudonyms too."""

    holds: str
    written: str
    example: str
    becomes: str
    hidden: str


KINDS: Mapping[str, Kind] = {
    "address": Kind(
        "a mail address, or the user, command or file that stands for one",
        "the part before the last @ as p-…; the domain stays, or is d-….invalid",
        "Anna.B@klub.test",
        "p-1c1f0f4147dfa10c@klub.test",
        "p-1c1f0f4147dfa10c@d-6d9c58dc4da1c5c6.invalid",
    ),
    "user": Kind(
        "a user's name or address",
        "as an address",
        "anna",
        "p-f627705da65600dc",
        "p-f627705da65600dc",
    ),
    "ip": Kind(
        "an IP address",
        "ip-…, the same for every way of writing it",
        "192.0.2.7",
        "ip-cbec75c9807e15b4",
        "ip-cbec75c9807e15b4",
    ),
    "host": Kind(
        "the name of a client, by DNS or its own word, which may be somebody's own machine",
        "h-… and the last two labels (three under co.uk and the like); a name of two labels stays; or d-….invalid",
        "pc7.home.klub.test",
        "h-9baf35ad42c96cbf.klub.test",
        "d-b473a49f841a6632.invalid",
    ),
    "server": Kind(
        "a server that mail is handed to",
        "its name stays, or is d-….invalid; its address is ip-…",
        "mx.klub.test",
        "mx.klub.test",
        "d-b57aaed13eb91d28.invalid",
    ),
    "message_id": Kind(
        "a Message-ID, into which programs write users and machines",
        "before the @ as of an address, after it as of a host",
        "20260101.anna@pc7.home.klub.test",
        "p-eb065925a7181496@h-9baf35ad42c96cbf.klub.test",
        "p-eb065925a7181496@d-b473a49f841a6632.invalid",
    ),
    "folder": Kind(
        "a mailbox folder",
        "f-…; INBOX, Sent, Junk and others that everybody has stay",
        "Lists/choir",
        "f-dadbd032d7194668",
        "f-dadbd032d7194668",
    ),
    "session": Kind(
        "a mail store's session ID: Dovecot packs the person's IP address into that of a login",
        "s-…; that of a delivery, which is also a queue ID, stays",
        "nGkT1y5HmrAKTQIF",
        "s-15665affadb62570",
        "s-15665affadb62570",
    ),
    "text": Kind(
        "words of a server or program, or a line of a log",
        "addresses, IP addresses and host names made of them as above, and the names of the row's own people; or domains too. "
        "Other names in it stay",
        "<bo@klub.test>: refused by mx.klub.test[192.0.2.9]",
        "<p-f18fce119ddc3001@klub.test>: refused by mx.klub.test[ip-2d5d8ce3ee0eec69]",
        "<p-f18fce119ddc3001@d-6d9c58dc4da1c5c6.invalid>: refused by d-b57aaed13eb91d28.invalid[ip-2d5d8ce3ee0eec69]",
    ),
    "template": Kind(
        "a line whose numbers, IDs and addresses are masked already",
        "as it is; or domains too",
        "warning: mx.klub.test: no answer",
        "warning: mx.klub.test: no answer",
        "warning: d-b57aaed13eb91d28.invalid: no answer",
    ),
    "statistic": Kind(
        "what is counted: of recipient_domain and sender_domain a domain, of next_hop and hop a server",
        "a server's address as ip-…; or domains and servers as d-….invalid",
        "klub.test",
        "klub.test",
        "d-6d9c58dc4da1c5c6.invalid",
    ),
}


def personal_page() -> str:
    """The whole of docs/personal.md."""
    from hoptrace.schemas.catalog import TABLES

    lines = [
        "# Personal data, table by table",
        "",
        "Made from `schemas/` by `python -m hoptrace.schemas.personal`; [privacy.md](privacy.md) says what it means. Tables that are not",
        "here hold nothing about people, and neither do the other columns.",
        "",
        "| table | columns, by kind |",
        "|---|---|",
    ]
    for table in TABLES.values():
        if table.personal:
            columns: dict[str, list[str]] = {}
            for column, name in table.personal.items():
                columns.setdefault(name, []).append(f"`{column}`")
            told = "; ".join(f"{name.replace('_', '-')}: {', '.join(these)}" for name, these in columns.items())
            lines.append(f"| `{table.name}` | {told}{' (encrypted)' if table.sealed else ''} |")
    lines += [
        "",
        "| kind | what stands there | what `--pseudonymise` writes | in clear | written | with `--pseudonymise-domains` |",
    ]
    lines += ["|---|---|---|---|---|---|"]
    for name, kind in KINDS.items():
        examples = " | ".join(f"`{text}`" for text in (kind.example, kind.becomes, kind.hidden))
        lines.append(f"| {name.replace('_', '-')} | {kind.holds} | {kind.written} | {examples} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    print(personal_page(), end="")
