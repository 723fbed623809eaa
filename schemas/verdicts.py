"""Verdicts: what the words of content filters mean, from the strongest finding to the weakest."""

VERDICTS = {
    "infected": ("infected", "virus"),
    "banned": ("banned", "attachment", "bad_filename"),
    "spam": ("spam", "spammy", "add header", "rewrite subject", "reject", "discard", "quarantine"),
    "forged": ("dmarc_reject", "dmarc_quarantine"),
    "blocked": ("blocked",),
    "greylisted": ("greylist",),
    "deferred": ("soft reject", "mta-blocked"),
    "bad_header": ("bad-header", *(f"bad-header-{number}" for number in range(10))),
    "oversized": ("oversized",),
    "clean": ("clean", "no action", "passed"),
    "unchecked": ("unchecked", "unchecked-encrypted"),
    "dmarc_fail": ("dmarc_fail",),
    "dkim_fail": ("dkim_fail",),
}
"""Verdict -> the words that say so, as column `action` of `events` has them. A check that was passed is no verdict."""

VERDICT_OF = {word: verdict for verdict, words in VERDICTS.items() for word in words}
RANKS = {verdict: rank for rank, verdict in enumerate(VERDICTS)}
