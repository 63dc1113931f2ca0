"""What a library is made of: pages and other names for them, as a source hands them over."""

from __future__ import annotations

from dataclasses import dataclass

ADDRESS_MAX = 2048
"""Characters of an address."""
REDIRECTS_MAX = 10
"""Other names that may lead to one another before a page comes."""
PAGES_MAX = 20_000_000
"""Records that one library may hold, pages or not."""
TEXT_MAX = 1 << 38
"""Bytes of text that one library may hold."""


class LibraryError(Exception):
    """A library, or a path in it, cannot be read; says what, where and why."""


@dataclass(frozen=True, slots=True)
class Page:
    """Something to read."""

    path: str
    """Where it is found: a path in a folder, an address in a cached internet."""
    text: str | None
    """What is searched; None for a file that can only be read."""
    stamp: str = ""
    """When it was taken; of two pages with one path the later stays."""
    size: int | None = None
    """Bytes, where they stay outside the index."""
    digest: bytes | None = None
    """SHA-256 of them, likewise."""


@dataclass(frozen=True, slots=True)
class Alias:
    """Another name for a page: a redirect."""

    path: str
    """The other name."""
    target: str
    """The page's path, or another alias of it."""
    stamp: str = ""
    """When it was taken."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something that no text can be made of: a picture, an error, a form that was sent."""


Entry = Page | Alias | LeftOut
"""What a source hands over, in any order."""


def proper(address: str) -> bool:
    """Whether this can be the path of a page."""
    return 0 < len(address) <= ADDRESS_MAX and address.isprintable()
