"""What a page says, in whatever charset, and however hostile its markup."""

import codecs

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audition.box.page_text import PAGE_MAX, plain, text_of

E_ACUTE = "\N{LATIN SMALL LETTER E WITH ACUTE}"
SAYS = "<p>Der Uhu jagt bei Nacht: \N{LATIN SMALL LETTER U WITH DIAERESIS}ber \N{EURO SIGN}</p>"


def test_scripts_styles_comments_and_markup_are_dropped():
    markup = (
        "<!doctype html><html><head><title>The &amp; owl</title><style>p {x: '<p>y'}</style>"
        "</head><body onload='run(\"a>b\")'><script>if (a < b) '<p>no</p>'</script>"
        "<p>An <b>owl</b> hunts<br>at 1 < 2 &eacute;</p><!-- hidden <p>no</p> --><svg><text>no"
        "</text></svg><a href='x>y'>link</a></body></html>"
    )
    assert (
        plain(markup)
        == "The & owl\nAn owl hunts\nat 1 < 2 \N{LATIN SMALL LETTER E WITH ACUTE}\nlink"
    )


@pytest.mark.parametrize(
    ("markup", "says"),
    [
        ("<p>a<script>never closed", "a"),
        ("<p>a<!-- never closed", "a"),
        ("<p>a<a href='never closed", "a"),
        ("a<", "a<"),
        ("</>a", "a"),
        ("&#" + "9" * 10_000 + ";", "\N{REPLACEMENT CHARACTER}"),
        ("&#xD800;", "\N{REPLACEMENT CHARACTER}"),
        ("a\0b", "a b"),
        ("<SCRIPT>no</ScRiPt >yes", "yes"),
    ],
)
def test_broken_markup_is_read_as_far_as_it_says_anything(markup, says):
    assert plain(markup) == says


@settings(deadline=None)
@given(st.text(alphabet="<>/!-?&#;=\"' \nascript\0x", max_size=200))
def test_no_markup_raises_and_nothing_is_made_up(markup):
    said = plain(markup)
    said.encode()
    assert len(said) <= len(markup) + 1


@pytest.mark.parametrize(
    "part", ["<a ", "<a x='", "<!--", "</", "<script></script ", "<title>", "&#9", "= ", " \n"]
)
def test_hostile_markup_is_read_to_its_end(part):
    """With work that grew with the square of its length, this would take hours."""
    plain("<a " + part * 300_000)
    plain(part * 300_000)


@pytest.mark.parametrize("charset", ["utf-8", "windows-1252", "utf-16-le", "iso-8859-15", "cp1252"])
def test_a_charset_that_is_declared_is_used(charset):
    data = SAYS.encode(charset)
    assert "\N{EURO SIGN}" in text_of(data, f'text/html; charset="{charset}"')


def test_a_charset_in_the_page_or_its_first_bytes_is_used():
    head = b"<meta http-equiv=Content-Type content='text/html; charset=koi8-r'>"
    assert "\N{CYRILLIC SMALL LETTER A}" in text_of(head + b"\xc1", "text/html")
    assert "owl" in text_of(codecs.BOM_UTF16_BE + "owl".encode("utf-16-be"), "text/plain")


def test_without_one_it_is_utf_8_or_else_western():
    assert E_ACUTE in text_of("é".encode(), "text/plain")
    assert E_ACUTE in text_of(b"caf\xe9", "text/plain")


@pytest.mark.parametrize(
    "label",
    ["zip", "rot13", "idna", "punycode", "unicode_escape", "utf-7", "undefined", "../x", ""],
)
def test_a_name_that_is_no_charset_of_text_is_passed_over(label):
    assert text_of(b"caf\xe9 +AGE-", f"text/plain; charset={label}") == "caf\xe9 +AGE-"


@settings(deadline=None)
@given(st.binary(max_size=300), st.text(max_size=40))
def test_no_bytes_and_no_type_raise(data, content_type):
    for kind in (content_type, f"text/html;charset={content_type}"):
        said = text_of(data, kind)
        assert said is None or said.encode() is not None


def test_pictures_and_what_lies_beyond_the_bound_have_no_text():
    assert text_of(b"\x89PNG", "image/png") is None
    assert text_of(b"a\0b", "text/plain") is None
    assert len(text_of(b"x" * (PAGE_MAX + 5), "text/plain")) == PAGE_MAX
