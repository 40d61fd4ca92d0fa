"""E-mail addresses as people type them: one, several, or a sender with a name in front."""

from __future__ import annotations

import re

MAX_ADDRESSES = 20

_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,253}\Z")
"""The form that HTML takes in a field for addresses (HTML, 4.10.5.1.5): no quoting, no comments, ASCII alone."""

_SENDER = re.compile(r"(?P<name>[^<>]*)<(?P<address>[^<>]*)>\Z")


def is_address(text: str) -> bool:
    if not _ADDRESS.match(text):
        return False
    local, _, domain = text.rpartition("@")
    # RFC 5321, 4.1.2: atoms with single dots between, and labels that do not begin or end with a dash.
    labels = domain.split(".")
    return all(local.split(".")) and all(label and label.strip("-") == label for label in labels)


def split(text: str) -> list[str]:
    """The addresses of a list with commas, semicolons or line ends between, each once. Raises ValueError with the
    first that is none, or where they are too many."""
    found = list(dict.fromkeys(part for part in re.split(r"[,;\s]+", text) if part))
    for part in found:
        if not is_address(part):
            raise ValueError(f"{part[:80]!a} is not an e-mail address.")
    if len(found) > MAX_ADDRESSES:
        raise ValueError(f"At most {MAX_ADDRESSES} addresses.")
    return found


def sender(text: str) -> tuple[str, str]:
    """Name and address of ``Deployer <deploy@example.com>`` or of a bare address. Raises ValueError."""
    match = _SENDER.match(text.strip())
    name, address = (match["name"].strip().strip('"'), match["address"].strip()) if match else ("", text.strip())
    if not is_address(address):
        raise ValueError(f"{address[:80]!a} is not an e-mail address.")
    if not name.isprintable() or len(name) > 100:
        raise ValueError("The name in front of the address is too long, or cannot be printed.")
    return name, address
