"""Causes: why a reply says that mail failed or waits, from the fixed vocabulary in schemas/causes.toml."""

import regex

from hoptrace.schemas.causes import UNKNOWN, causes

STRANGERS = regex.compile(
    r"""(?ix) (?<said> ^ host \s \S++ \s (?=said:|refused) ) | < [^<>\s]*+ > | \[ [^\[\]]*+ \] | [\w.+=-]++ @ [\w.-]++
    | \b (?<=\bto\s|\bby\s|\bwith\s|\bhost\s|\bname=|\bserver:\s) (?:[\w-]++\.)++ [a-z]{2,}+ \.?"""
)
CODE = regex.compile(
    r"(?:^|\bsaid: |\bto me: |: |\n)(?<code>[45]\d\d)(?:[ -](?<dsn>[245]\.\d{1,3}\.\d{1,3})\b)?(?=[ -]|$)"
)
STAGE = regex.compile(
    r"(?i)\bin reply to (?:the )?(?<reply>end of DATA|[A-Z]++)"
    r"|\bafter (?:pipelined )?(?<after>[A-Z]{4}+|end of data|initial connection)|(?<talk>refused to talk to me)"
)
STAGES = {
    "end of data": "DATA", "data": "DATA", "bdat": "DATA", "end-of-message": "DATA", "rcpt": "RCPT", "mail": "MAIL",
    "helo": "HELO", "ehlo": "HELO", "lhlo": "HELO", "initial connection": "CONNECT", "connect": "CONNECT",
    "refused to talk to me": "CONNECT",
}  # fmt: skip


def name_cause(dsn: str | None, reply: str | None, code: int | None = None, stage: str | None = None) -> str:
    """The cause of a failure by its words, enhanced status code, SMTP code and stage; 'unknown' where none tells."""
    text = reply or ""
    said = CODE.search(text)
    asked = STAGE.search(text)
    words = STRANGERS.sub(" ", text)
    detail = (said and said["dsn"]) or dsn or ""
    number = said["code"] if said else str(code or "")
    at = STAGES.get(next(filter(None, asked.groups())).lower(), "") if asked else STAGES.get((stage or "").lower(), "")
    rows = causes()
    for cause in rows:
        if cause.words and cause.words.search(words, timeout=1.0):
            return cause.name
    status = f"x.{detail.split('.', 1)[1]}" if "." in detail else ""
    for cause in rows:
        if status in cause.dsn:
            return cause.name
    for cause in rows:
        if cause.hints and cause.hints.search(words, timeout=1.0):
            return cause.name
    told = (number, f"{number} {at}", f"{number[:1]}xx {at}", f"{number[:1]}xx")
    return next((cause.name for cause in rows if number and not set(cause.codes).isdisjoint(told)), UNKNOWN)
