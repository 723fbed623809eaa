"""Table `events`: what one log line says about a message, in words that every mail program's grammar shares."""

import polars as pl

from hoptrace.schemas.table import Table

KINDS = (
    "arrive",  # a queue took a message: client, or local submission
    "client",  # who brought it, where another line says so
    "message",  # its Message-ID
    "queue",  # its envelope sender, size, number of recipients
    "attempt",  # one try for one recipient, with its status
    "leave",  # the queue is done with it
    "expire",  # given up for age
    "notice",  # a bounce, delay or success notice was made from it (next_queue_id)
    "hold",
    "release",
    "delete",  # removed by an operator
    "requeue",  # put back under a new queue ID
    "refuse",  # refused, discarded, held or redirected by a rule after RCPT TO (action)
    "door",  # RCPT TO (or an earlier or later command) refused at the door
    "proxy",  # accepted or refused by a before-queue proxy, without a queue ID here
    "connect",  # an SMTP session began
    "disconnect",  # ... ended
    "lost",  # ... was lost (stage)
    "store",  # a mail store put it somewhere: folder, redirect, discard
    "filter",  # a content filter's verdict, with both queue IDs where it knows them
    "mailbox",  # later in the mailbox: expunged, downloaded, deleted, moved
    "part",  # a piece of a filter's line that was too long for syslog (reply: the piece as logged)
    "loss",  # the log itself lost lines: how many (size), whose (reply)
    "lines",  # only in open_hops: minutes of the hour `stamp` in which the host's log has lines, as bits (size)
    "hole",  # only in open_hops: a hole in the host's log from `stamp` on for `delay`, known since `size`, and why (reply)
    "clash",  # only in open_hops: the taker has hop orig_queue_id's message as next_queue_id, at a time that cannot be
    "handed",  # only in open_hops: messages (nrcpt) that other hosts handed to the silent host in the minute `stamp`
    "counted",  # only in open_hops: a row of delay_stats (reply, as JSON) of the hour `stamp`, which goes on after the night
)

TEXT = pl.String

EVENTS = Table(
    "events",
    {
        "stamp": (pl.Int64, "UTC microseconds of the line"),
        "host": (TEXT, "host that wrote the line, by its one name in the fleet"),
        "place": (
            pl.Int64,
            "place in the host's file chain: minute of the file's first stamp since 2000 << 37 | byte offset",
        ),
        "instance": (TEXT, "syslog name before the first '/', e.g. postfix or postfix-in; dovecot, exim ..."),
        "service": (TEXT, "daemon within the program (smtpd, qmgr, lmtp); null where the log lost it"),
        "pid": (pl.Int64, "process ID, of the kinds that sessions are told by"),
        "session": (TEXT, "SMTP session as the daemon names it, where it does; else its pid tells sessions apart"),
        "kind": (pl.Enum(KINDS), "what the line says"),
        "queue_id": (TEXT, "the message's ID on this host: queue ID, or the store's session ID"),
        "client_name": (TEXT, "who handed it over: verified name or 'unknown'"),
        "client_ip": (TEXT, "address of the client"),
        "helo": (TEXT, "what the client called itself"),
        "sasl_user": (TEXT, "authenticated user"),
        "arrival": (TEXT, "how it arrived: smtp, submission, pickup, lmtp, requeue, notice, local"),
        "orig_queue_id": (TEXT, "queue ID that the client or the requeue names as the origin"),
        "message_id": (TEXT, "Message-ID as logged, without the outer brackets; '' where the log says it is empty"),
        "sender": (TEXT, "envelope sender; '' is the null sender"),
        "size": (pl.Int64, "bytes"),
        "nrcpt": (pl.Int64, "recipients of the envelope"),
        "recipient": (TEXT, "envelope recipient after rewriting"),
        "original_recipient": (TEXT, "recipient as it was asked for, where logged"),
        "relay_name": (TEXT, "next hop's name as logged; 'none' and 'local' stay words"),
        "relay_ip": (TEXT, "next hop's address"),
        "delay": (pl.Int64, "microseconds since arrival, as the program logged it"),
        "delay_before": (pl.Int64, "microseconds before the last entry into the active queue (Postfix delays= a)"),
        "delay_queue": (pl.Int64, "microseconds in the active queue (b)"),
        "delay_connect": (pl.Int64, "microseconds to connect (c)"),
        "delay_transmit": (pl.Int64, "microseconds to transmit (d)"),
        "status": (TEXT, "sent, deferred, bounced, expired, softbounce, deliverable, undeliverable ..."),
        "dsn": (TEXT, "enhanced status code, e.g. 4.2.2"),
        "code": (pl.Int64, "SMTP reply code, e.g. 450"),
        "reply": (TEXT, "the words behind the status, as logged"),
        "next_queue_id": (TEXT, "ID that the next server, a child or a notice has, as this line names it"),
        "action": (
            TEXT,
            "refuse: reject, discard, hold, redirect, filter, warn; notice: bounce_notice, delay_notice, "
            "success_notice; store: stored, redirected, discarded, rejected, failed; filter: its verdict",
        ),
        "stage": (TEXT, "SMTP stage: CONNECT, HELO, MAIL, RCPT, DATA, END-OF-MESSAGE"),
        "folder": (TEXT, "mailbox folder"),
        "user": (TEXT, "mailbox user"),
        "repeat": (pl.Int64, "how often the line stands for itself ('message repeated N times'), else 1"),
        "score": (pl.Float64, "filter: the spam score that it gave"),
        "required_score": (pl.Float64, "filter: the score from which it takes a message for spam"),
    },
    order=("host", "stamp", "place"),
)

PERSONAL = {
    "queue_id": "session",
    "session": "session",
    "client_name": "host",
    "client_ip": "ip",
    "helo": "host",
    "sasl_user": "user",
    "message_id": "message_id",
    "sender": "address",
    "recipient": "address",
    "original_recipient": "address",
    "relay_name": "server",
    "relay_ip": "ip",
    "reply": "text",
    "folder": "folder",
    "user": "user",
}

OPEN_HOPS = Table(
    "open_hops",
    EVENTS.columns,
    (*EVENTS.order, *(name for name in EVENTS.columns if name not in EVENTS.order)),
    PERSONAL,
    sealed=True,
)
"""Table `open_hops`: what carries over to the next night, as the fewest events that fold to the same hops."""
