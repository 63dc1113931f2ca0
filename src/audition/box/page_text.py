"""The text of a page, whatever it came as: charsets read, markup, scripts and styles dropped.

The markup is cut by one pass of our own, in time proportional to its length: the standard
library's parser takes time that grows with the square of what a hostile page holds.

Source: https://encoding.spec.whatwg.org/ (labels), https://html.spec.whatwg.org/ (raw text).
"""

from __future__ import annotations

import codecs
import html
import re

PAGE_MAX = 4 << 20
"""Bytes of one page that become text; what lies beyond is left out."""

_HTML = frozenset({"text/html", "application/xhtml+xml"})
_PLAIN = frozenset({"application/json", "application/xml", "application/javascript"})
_TEXT = re.compile(r"text/.*|.*\+(?:xml|json)")
_CODECS = frozenset(
    (
        *("utf-8", "utf-16", "utf-16-le", "utf-16-be", "mac-cyrillic", "mac-roman"),
        *("koi8-r", "koi8-u", "cp866", "cp874", "cp932", "cp949", "big5", "big5hkscs"),
        *("shift_jis", "euc_jp", "iso2022_jp", "euc_kr", "gb2312", "gbk", "gb18030"),
        *(f"cp125{number}" for number in range(9)),
        *(f"iso8859-{number}" for number in range(2, 17) if number != 12),
    )
)
_WESTERN = frozenset({"ascii", "iso8859-1"})
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,39}")
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([^\s\"';>]+)", re.IGNORECASE)
_DECLARED_IN = 1024
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_NAME = re.compile(r"/?([A-Za-z][^\s/>]{0,63})")
_QUOTE_OR_END = re.compile(r"""=\s*["']|>""")
_DROPPED = frozenset({"script", "style", "template", "svg", "iframe"})
_INLINE = frozenset(
    (
        *("a", "abbr", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em"),
        *("font", "i", "ins", "kbd", "mark", "q", "s", "samp", "small", "span", "strong", "sub"),
        *("sup", "time", "tt", "u", "var", "wbr"),
    )
)
_HUGE_REFERENCE = re.compile(r"&#(?:[0-9]{8,}|[xX][0-9a-fA-F]{8,});?")
_BLANKS = re.compile(r"[^\S\n]+")
_LINES = re.compile(r" ?\n[ \n]*")


def text_of(data: bytes, content_type: str) -> str | None:
    """The text of a page, or None where it has none.

    Args:
        data: The page's bytes, the first `PAGE_MAX` of which are read.
        content_type: Its media type, perhaps with a charset.
    """
    kind, _, parameters = content_type.partition(";")
    kind = kind.strip().lower()
    is_html = kind in _HTML
    if not (is_html or kind in _PLAIN or _TEXT.fullmatch(kind)):
        return None
    text = _decoded(data, _CHARSET.search(parameters), is_html)
    if is_html:
        return plain(text)
    return None if "\0" in text else text


def plain(markup: str) -> str:
    """What a page of HTML says: its title first, then a line for each block of text."""
    title, said = "", list[str]()
    at, end = 0, len(markup)
    while at < end:
        opened = markup.find("<", at)
        said.append(_unescaped(markup[at : opened if opened >= 0 else end]))
        if opened < 0:
            break
        found = _NAME.match(markup, opened + 1)
        if found is None:
            at = _after_other(markup, opened, said)
            continue
        name = found[1].lower()
        at = _after_tag(markup, found.end())
        if name not in _INLINE:
            said.append("\n")
        if markup[opened + 1] == "/":
            continue
        if name in _DROPPED:
            at = _closing(markup, name, at)
        elif name == "title":
            closed = _closing(markup, name, at)
            title = title or _tidy(_unescaped(markup[at:closed])).replace("\n", " ")
            at = closed
    return f"{title}\n{_tidy(''.join(said))}".strip()


def _decoded(data: bytes, declared: re.Match[str] | None, is_html: bool) -> str:
    data, is_whole = data[:PAGE_MAX], len(data) <= PAGE_MAX
    for mark, name in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(name, "replace")
    if declared is None and is_html:
        declared = _CHARSET.search(data[:_DECLARED_IN].decode("latin-1"))
    name = _codec(declared[1]) if declared else None
    if name is not None:
        return data.decode(name, "replace")
    try:
        # A character cut by the bound is no reason to doubt the whole page.
        return codecs.getincrementaldecoder("utf-8")().decode(data, is_whole)
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def _codec(label: str) -> str | None:
    """A codec that stands for text, or None: a name from outside may stand for anything."""
    if not _LABEL.fullmatch(label):
        return None
    try:
        name = codecs.lookup(label).name
    except LookupError:
        return None
    if name in _WESTERN:
        return "cp1252"
    return name if name in _CODECS else None


def _after_tag(markup: str, at: int) -> int:
    """Where a tag ends that is open here; a `>` within quotes does not end it."""
    while found := _QUOTE_OR_END.search(markup, at):
        if found[0] == ">":
            return found.end()
        closed = markup.find(found[0][-1], found.end())
        if closed < 0:
            return len(markup)
        at = closed + 1
    return len(markup)


def _after_other(markup: str, opened: int, said: list[str]) -> int:
    """Where a comment or declaration ends; a lone `<` is text."""
    if markup.startswith("<!--", opened):
        ends = "-->"
    elif markup.startswith(("<!", "<?", "</"), opened):
        ends = ">"
    else:
        said.append("<")
        return opened + 1
    closed = markup.find(ends, opened + 2)
    return closed + len(ends) if closed >= 0 else len(markup)


def _closing(markup: str, name: str, at: int) -> int:
    """Where the end tag of an element stands whose content is no markup."""
    found = re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE).search(markup, at)
    return found.start() if found else len(markup)


def _unescaped(text: str) -> str:
    # A reference of thousands of digits is more than the standard library takes.
    return html.unescape(_HUGE_REFERENCE.sub("\N{REPLACEMENT CHARACTER}", text))


def _tidy(text: str) -> str:
    return _LINES.sub("\n", _BLANKS.sub(" ", text.replace("\0", " "))).strip()
