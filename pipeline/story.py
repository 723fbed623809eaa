"""The story of one message for one recipient, told hop by hop in plain words."""

from collections.abc import Sequence
from datetime import datetime, tzinfo
from typing import Any

from rich.console import RenderableType

from hoptrace.pipeline import printing
from hoptrace.pipeline.find import Answer, Row
from hoptrace.pipeline.mailbox import mailbox_lines
from hoptrace.pipeline.printing import clean, moment, number, span
from hoptrace.schemas.deliveries import STAGES

STAGE_WORDS = {
    "receive": "being received",
    "in_queue": "in the queue",
    "waiting_retry": "waiting for a new try",
    "held": "on hold",
    "filter": "in the filter",
    "connect": "connecting",
    "transmit": "being handed over",
    "between_hosts": "between the hosts",
}
NOTICE_WORDS = {"bounce_notice": "bounce notice", "delay_notice": "delay notice", "success_notice": "success notice"}
VERDICT_WORDS = {
    "infected": "Found to carry a virus",
    "banned": "Found to hold a banned attachment",
    "spam": "Taken for spam",
    "forged": "Taken for forged, by the sender's DMARC policy,",
    "blocked": "Blocked by a rule",
    "greylisted": "Put off until the client tries again",
    "deferred": "Put off",
    "bad_header": "Found to have a broken header",
    "oversized": "Found too large to be scanned",
    "clean": "Found clean",
    "unchecked": "Not checked",
    "dmarc_fail": "Failed DMARC",
    "dkim_fail": "Failed DKIM",
}
PASSED_ON = ("delivered", "in_transit", "missing", "unknown")
SAID = 160


def story_page(answer: Answer, zone: tzinfo) -> list[RenderableType]:
    """What `hoptrace find` prints: each hit's story, times in `zone`."""
    page: list[RenderableType] = []
    for row in answer.rows:
        page += story(row, [note for note in answer.notices if note["about_trace_id"] == row["trace_id"]], zone)
    shown = len(answer.rows)
    if shown < answer.found:
        page.append(printing.title(f"{shown} of {number(answer.found)} shown; narrow the question, or raise --limit"))
    elif not shown:
        page.append(printing.line("No message fits. Shorter parts of addresses and a larger --within find more;"))
        page.append(printing.line("`hoptrace coverage` shows which logs were read, and where they have holes."))
    return page


def story(row: Row, notices: Sequence[Row], zone: tzinfo) -> list[RenderableType]:
    """One row of `deliveries` or `open`, with the notices about it."""
    page: list[RenderableType] = [printing.title(f"{_sender(row)} -> {_recipient(row)}")]
    page.append(printing.line(outcome_sentence(row, zone), indent=2))
    page += [printing.line(text, indent=2) for text in (*_facts(row, zone), *_verdict(row, zone), *_remarks(row))]
    hops: list[Row] = row["hops"] or []
    for place, hop in enumerate(hops):
        after = hops[place + 1] if place + 1 < len(hops) else None
        page.append(printing.line(f"{place + 1}. {hop['host']}", f"queue ID {hop['queue_id'] or 'none'}", indent=2))
        page += [printing.line(text, indent=5) for text in _stay(row, hop, after, zone)]
    page += [printing.line(text, indent=2) for text in mailbox_lines(row, zone)]
    page += [printing.line(_notice(note, zone), indent=2) for note in notices]
    return page


def outcome_sentence(row: Row, zone: tzinfo) -> str:
    """What became of it, in one plain sentence."""
    said = _ending(row)
    when = moment(row["resolved_at"], zone)
    known = {
        "delivered": lambda: f"Delivered{_place(row)} at {when}{_after(row)}.",
        "bounced": lambda: f"Refused for good after we had accepted it, at {when}{_after(row)}{said}",
        "returned": lambda: f"Given up at {when}{_after(row)}, and returned to the sender{said}",
        "rejected": lambda: f"Refused at our door at {when}, never accepted{said}",
        "deferred_at_door": lambda: f"Put off at our door, last at {when}; the client has not come back{said}",
        "aborted": lambda: f"The client left at {when}, before we had answered: never accepted{said}",
        "discarded": lambda: f"Accepted, then dropped by a rule or filter at {when}{said}",
        "quarantined": lambda: f"Put into quarantine at {when}, not delivered{said}",
        "deleted": lambda: f"Deleted from the queue by an operator at {when}{said}",
        "missing": lambda: f"Handed over at {when}, but the next host's log, which is whole, never shows it.",
        "unknown": lambda: f"Last seen at {when}; what followed is unknown, for a log is not whole there.",
        "queued": lambda: f"Still queued{_on(row)} when the night ended, {span(row['delay_s'])} old{said}",
        "held": lambda: f"On hold{_on(row)} when the night ended, {span(row['delay_s'])} old.",
        "in_transit": lambda: f"Handed over at {when}, and not yet seen at the next host when the night ended.",
    }
    sentence = known.get(row["outcome"])
    return sentence() if sentence else f"Outcome {row['outcome']} at {when}{said}"


def _ending(row: Row) -> str:
    """How a sentence ends: with the reply and its cause where they are known."""
    reply = _short(row["reply"])
    cause = f" ({row['cause'].replace('_', ' ')})" if row["cause"] else ""
    return f"{cause}: {reply}" if reply else f"{cause}."


def _place(row: Row) -> str:
    if row["place"] == "mailbox":
        return f" to the mailbox, folder {row['folder']}," if row["folder"] else " to the mailbox"
    hops = row["hops"] or []
    relay = hops[-1]["relay"] if hops else None
    if row["place"] == "outside":
        return f" to {relay}, outside our fleet," if relay else " to a server outside our fleet"
    return " to a program" if row["place"] == "program" else ""


def _after(row: Row) -> str:
    if row["delay_s"] is None:
        return ""
    late = {"late": ", late", "overdue": ", overdue"}.get(row["delay_class"] or "", "")
    return f", {span(row['delay_s'])} after it was submitted{late}"


def _on(row: Row) -> str:
    return f" on {row['path'][-1]}" if row["path"] else ""


def _sender(row: Row) -> str:
    return row["sender"] or ("<> (null sender)" if row["sender"] == "" else "sender not logged")


def _recipient(row: Row) -> str:
    if row["recipient"] is None and row["original_recipient"] is None:
        return f"{number(row['n_recipients']) or 'unknown'} recipients that no log has named yet"
    names = [name for name in (row["original_recipient"], row["recipient"]) if name]
    return " -> ".join(dict.fromkeys(names))


def _facts(row: Row, zone: tzinfo) -> list[str]:
    client = f"{row['client_name'] or ''}[{row['client_ip']}]" if row["client_ip"] else row["client_name"]
    came = [f"from {client}"] if client else []
    came += [f"signed in as {row['sasl_user']}"] if row["sasl_user"] else []
    came += [f"{number(row['size'])} bytes"] if row["size"] is not None else []
    facts = []
    if row["submitted_at"] is not None:
        facts.append(f"Submitted {moment(row['submitted_at'], zone)} at {row['entry_host']}" + _list(came, ", "))
    elif came:
        facts.append(f"Tried at {row['entry_host'] or 'our door'}" + _list(came, ", "))
    first = row["first_attempt_at"]
    if first is not None and row["submitted_at"] is not None and first < row["submitted_at"]:
        waited = (row["submitted_at"] - first).total_seconds()
        facts.append(f"First tried at our door {moment(first, zone)}, {span(waited)} before it was accepted")
    facts.append(f"Message-ID {row['message_id'] or 'none'}, trace {row['trace_id']}")
    return facts


def _verdict(row: Row, zone: tzinfo) -> list[str]:
    if not row.get("verdict"):
        return []
    score, required = row["spam_score"], row["spam_required"]
    said = (
        f", score {score:g}" + (f" of {required:g} required" if required is not None else "")
        if score is not None
        else ""
    )
    word = VERDICT_WORDS.get(row["verdict"], f"Verdict {row['verdict']}")
    return [f"{word} by {clean(row['verdict_by'])} at {moment(row['verdict_at'], zone)}{said}"]


def _remarks(row: Row) -> list[str]:
    remarks = []
    if row["worst_host"] and (row["delay_s"] or 0) >= 60:
        stage = STAGE_WORDS.get(row["worst_stage"], row["worst_stage"] or "")
        remarks.append(f"Most of the delay: on {row['worst_host']}, {stage}")
    if row["warning_due"] and row["warned_at"] is None:
        remarks.append("A delay warning to the sender was due, but none was made")
    if row["return_due"] and row["returned_at"] is None and row["outcome"] not in ("delivered", "deleted"):
        remarks.append("It was older than its queue's lifetime, but no notice went back to the sender")
    if row["certainty"] in ("likely", "incomplete"):
        why = "some links are likely, not certain" if row["certainty"] == "likely" else _lacking(row)
        remarks.append(f"Certainty: {row['certainty']} ({why})")
    if row["flags"]:
        remarks.append("Flags: " + ", ".join(row["flags"]))
    if row["caused_by"]:
        remarks.append(f"This is a notice about trace {row['caused_by']}")
    return remarks


def _lacking(row: Row) -> str:
    where = row.get("would_settle")
    if where is None:
        return "its logs do not show all of its way, or their stamps contradict the queue IDs"
    host, day, hour = where.split(" ")
    return f"the log of {host} for the hour from {day} {hour.removesuffix('Z')} UTC would settle it"


def _stay(row: Row, hop: Row, after: Row | None, zone: tzinfo) -> list[str]:
    lines = [f"arrived {_exact(hop['arrived_at'], zone)}"] if hop["arrived_at"] else []
    spent = hop["stages"] or {}
    waits = [f"{span(spent[s])} {STAGE_WORDS[s]}" for s in STAGES if (spent.get(s) or 0) >= 0.005]
    if waits:
        lines.append("spent " + ", ".join(waits))
    tries, relay, left = hop["attempts"] or 0, hop["relay"], hop["handed_over_at"]
    if left and after is None and row["place"] == "mailbox" and not relay:
        lines.append(f"saved {_exact(left, zone)}")
    elif left and after is None and row["outcome"] not in PASSED_ON:
        lines.append(f"last tried {_exact(left, zone)}" + (f" at {relay}" if relay else "") + f", {_tries(tries)}")
    elif left:
        to, at_try = f" to {relay}" if relay else "", f" at try {number(tries)}" if tries > 1 else ""
        lines.append(f"handed over {_exact(left, zone)}{to}{at_try}")
    elif tries:
        lines.append(f"tried {_tries(tries)}" + (f", last at {relay}" if relay else ""))
    if hop["reply"]:
        lines.append(f"reply: {_short(hop['reply'])}")
    if after is not None:
        lines.append(f"next is known by {hop['evidence'] or 'no evidence'}")
    elif row["outcome"] == "in_transit":
        lines.append("the next host has not shown it yet")
    return lines


def _tries(tries: int) -> str:
    return printing.counted(tries, "time")


def _notice(note: Row, zone: tzinfo) -> str:
    kind = NOTICE_WORDS.get(note["kind"] or "", "notice")
    told = f" to {note['recipient']}" if note["recipient"] else ""
    fate = f": {note['outcome']}" if note["outcome"] else ": fate unknown"
    at = f" at {moment(note['resolved_at'], zone)}" if note["resolved_at"] else ""
    return f"{kind.capitalize()} made {moment(note['made_at'], zone)} on {note['host']}{told}{fate}{at}"


def _exact(value: datetime, zone: tzinfo) -> str:
    local = value.astimezone(zone)
    return f"{local:%Y-%m-%d %H:%M:%S}" + (f".{local.microsecond // 1000:03d}" if local.microsecond else "")


def _short(text: str | None) -> str:
    said = clean(text)
    return said if len(said) <= SAID else said[: SAID - 3] + "..."


def _list(words: Sequence[Any], before: str) -> str:
    return before + ", ".join(words) if words else ""
