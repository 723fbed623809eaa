"""Tags: which program a line is from, told by the program name in its head."""

from collections.abc import Sequence
from dataclasses import dataclass

import regex

from hoptrace.transforms.cut import CONTINUED, OWN_DATED, OWN_EXIM, OWN_YEARLESS, SYSLOG
from hoptrace.transforms.grammar import Grammars

NOT_MAIL = -1  # a program that has nothing to do with mail
UNKNOWN = -2  # no program is named, or a mail program without a grammar

# Mail programs, by the name before any '/', '-' or '('; a line of theirs that no grammar reads is counted as unparsed.
MAIL = regex.compile(
    r"""(?ix) ^ (?: postfix | exim4? | sendmail | sm-(?:mta|msp|acceptingconnections|queue) | mta | smtpd | opensmtpd
    | dovecot | amavis d? (?:-new)? | spamd | spamc | spamassassin | spamass-milter | rspamd | postgrey | postscreen
    | policyd | policyd-spf | opendkim | opendmarc | openarc | dkim-filter | dkim-milter | milter | clamav-milter
    | clamsmtpd | mimedefang | mailscanner | mailman3? | mlmmj | sympa | procmail | maildrop | cyrus | lmtpunix | lmtpd
    | imapd? | pop3d? | imap-login | pop3-login | lmtp | lda | sieve | managesieve | deliver | courier | couriertcpd
    | courieresmtpd? | qmail | qpsmtpd | haraka | kumod | pmg-smtp-filter | pmgpolicy | zimbra | zmmailboxd | fetchmail
    | mail | mailer | msmtp | nullmailer | srsd | postsrsd | mailgraph | gld | sqlgrey | milter-greylist | greylist )
    (?: [\d/_(.-] .* )? $"""
)
# Dovecot's processes, as they begin a line of its own log file.
DOVECOT = regex.compile(
    r"""(?x) aggregator | anvil | auth | auth-worker | config | deliver | dict | dict-async | director | dns[_-]client
    | doveadm | doveconf | dovecot | dsync (?: -server | -local )? | health-check | imapc | indexer (?: -worker )? | ipc
    | imap (?: -hibernate | -urlauth (?: -login | -worker )? )? | lda | lmtp | log | managesieve | master | old-stats
    | (?: imap | pop3 | lmtp | submission | managesieve ) -login | pop3 | quota-status | replicator | script | sieve
    | ssl-build-param | ssl-params | stats | submission"""
)


@dataclass(frozen=True)
class Tag:
    """What a tag tells: its program's number among the grammars, NOT_MAIL or UNKNOWN; names; its service's bits."""

    program: int
    name: str | None
    instance: str | None
    service: str | None
    services: int


NO_TAG = Tag(UNKNOWN, None, None, None, 0)


def read_tags(tags: Sequence[tuple[int, bytes]], grammars: Grammars) -> list[Tag]:
    """The meaning of each distinct tag of `transforms.cut.Heads`, and of no tag at all as the last."""
    return [read_tag(style, tag.decode(), grammars) for style, tag in tags] + [NO_TAG]


def read_tag(style: int, tag: str, grammars: Grammars) -> Tag:
    """The meaning of a tag that was found in this style (see `transforms.cut`)."""
    name = tag
    if style == CONTINUED:
        return Tag(NOT_MAIL, None, None, None, 0)
    if style == OWN_EXIM or (style == OWN_DATED and not DOVECOT.fullmatch(tag)):
        name = "exim"
    elif style in (OWN_DATED, OWN_YEARLESS):
        if not DOVECOT.fullmatch(tag):
            return NO_TAG
        name = "dovecot"
    found = grammars.reader(name)
    if found:
        program, instance, service = found
        return Tag(program, name, instance, service, grammars.programs[program].mask(service))
    return Tag(UNKNOWN if not name or style != SYSLOG or MAIL.match(name) else NOT_MAIL, name or None, None, None, 0)
