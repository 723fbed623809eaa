"""The key file of a store of pseudonyms, and that a store has one way of writing only."""

import os
import stat
from pathlib import Path

from hoptrace.pipeline.store import Store
from hoptrace.schemas.errors import HoptraceError
from hoptrace.transforms.pseudonyms import Pseudonyms

LEAST_BYTES, LEAST_DISTINCT = 32, 12
MAKE_ONE = "(umask 077; head -c 32 /dev/urandom | base64 > {path})"


def read_pseudonyms(path: str, domains: bool = False) -> Pseudonyms:
    """The pseudonyms by the key in the file `path`, blanks around it left out; HoptraceError where it is no key."""
    try:
        secret = Path(path).read_bytes().strip()
    except OSError as error:
        raise HoptraceError(
            f"{path}: cannot read the key ({error.strerror}); make one with: {MAKE_ONE.format(path=path)}"
        ) from error
    if len(secret) < LEAST_BYTES or len(set(secret)) < LEAST_DISTINCT:
        raise HoptraceError(
            f"{path}: {len(secret)} bytes that can be guessed are no key, it needs {LEAST_BYTES} random ones; make one with: "
            f"{MAKE_ONE.format(path=path)}"
        )
    return Pseudonyms(secret, domains)


def exposed(path: str) -> str | None:
    """What is to be said of a key file that others than its owner can read; None where all is well."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return None
    if not mode & (stat.S_IRWXG | stat.S_IRWXO):
        return None
    return f"{path}: others can read the key, and so undo the pseudonyms; chmod 600 {path}"


def require_alike(store: Store) -> None:
    """Raises HoptraceError where `store` has nights that are written in another way than it would write now."""
    told = None if store.pseudonyms is None else store.pseudonyms.told
    for night in store.days():
        if night["pseudonyms"] != told:
            raise HoptraceError(
                f"{store.root.url}: {night['day']} is written {_how(night['pseudonyms'])}, and this run would write "
                f"{_how(told)}; {_remedy(night['pseudonyms'])}, or another --store"
            )


def way_of(store: Store) -> Pseudonyms | None:
    """The pseudonyms that `store` is written with, by the key that it was opened with; None where it is in clear, or opened
    without a key. HoptraceError where the key is another."""
    told = written(store)
    if store.pseudonyms is None or told == "":
        return None
    fingerprint, _, domains = (told or "").partition(" ")
    if fingerprint != store.pseudonyms.fingerprint:
        raise HoptraceError(
            f"{store.root.url}: it is written {_how(told)}, and the key given is {store.pseudonyms.fingerprint}; "
            f"{_remedy(told)}"
        )
    return Pseudonyms(store.pseudonyms.secret, bool(domains))


def written(store: Store) -> str | None:
    """What the newest night says of how the store is written: None in clear; '' where there is no night."""
    nights = store.days()
    return nights[-1]["pseudonyms"] if nights else ""


def _how(told: str | None) -> str:
    if told is None:
        return "in clear"
    fingerprint, _, domains = told.partition(" ")
    return f"as pseudonyms by key {fingerprint}" + (", domains too" if domains else "")


def _remedy(told: str | None) -> str:
    if told is None:
        return "leave --pseudonymise out"
    return "give --pseudonymise that key's file" + (" and --pseudonymise-domains" if " " in told else "")
