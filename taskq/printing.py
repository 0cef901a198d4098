"""Foreign text made harmless for logs and terminals. Pure."""

from __future__ import annotations


def escaped(text: str, *, keep: str = "") -> str:
    """Return a text with each character that is not printable as its escape: a terminal would obey it, UTF-8 not write it.

    Args:
        text: Of whatever origin.
        keep: Characters that stay as they are, such as line breaks.
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in keep else each.encode("unicode_escape").decode()
        for each in text
    )
