"""Searching and reading a folder of text, whatever the query, the path or the folder."""

import contextlib
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audition.box import Library, LibraryError
from audition.box.folder import INDEXED_MAX
from audition.box.search import HITS_MAX, READ_MAX


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("library")
    (folder / "birds").mkdir()
    (folder / "birds/owl.md").write_text("\n# The owl\n\nThe owl hunts at night. \N{OWL} é\n")
    (folder / "birds/wren.txt").write_text("The wren is small and sings by day.\n")
    (folder / "both.txt").write_text("An owl and a wren: owl, owl, wren.\n")
    (folder / "picture.png").write_bytes(b"\x89PNG\0owl")
    (folder / "latin.txt").write_bytes(b"owl \xe9")
    (folder / "secret").symlink_to("/etc/passwd")
    (folder / "up").symlink_to("..")
    os.mkfifo(folder / "fifo")
    (folder / os.fsdecode(b"owl-\xff")).write_text("owl")
    return folder


@pytest.fixture(scope="module")
def library(folder):
    with Library.open(folder) as opened:
        yield opened


def test_files_with_most_of_the_words_come_first(library):
    hits = library.search("owl wren")
    assert hits[0].path == "both.txt"
    assert {hit.path for hit in hits} == {"both.txt", "birds/owl.md", "birds/wren.txt"}
    (night,) = library.search("night")
    assert (night.title, night.path) == ("The owl", "birds/owl.md")
    assert "hunts at night" in night.excerpt


def test_links_pictures_and_names_that_are_no_text_are_not_found(library):
    assert {hit.path for hit in library.search("owl root png", HITS_MAX)} == {
        "both.txt",
        "birds/owl.md",
    }


@given(st.text(), st.integers(-5, 100))
def test_no_query_raises(library, query, limit):
    assert len(library.search(query, limit)) <= max(0, min(limit, HITS_MAX))


@pytest.mark.parametrize(
    "query",
    [
        '"',
        "owl AND",
        "NEAR(",
        "title:*",
        "-",
        "owl OR",
        "a" * 10**6,
        "(" * 1000,
        "\0",
        "\ud800 owl",
        "{title path}: owl",
        "owl^",
        "*",
        "' OR 1=1; DROP TABLE page --",
    ],
)
def test_query_syntax_is_taken_as_words(library, query):
    library.search(query)
    assert library.search("night")


def test_a_part_of_a_file_is_read(library):
    whole = library.read("birds/owl.md")
    assert whole.text.startswith("\n# The owl")
    part = library.read("birds/owl.md", 3, 7)
    assert (part.text, part.offset, part.size) == ("The owl", 3, whole.size)
    assert library.read("birds/owl.md", 10**30).text == ""
    assert library.read("latin.txt").text == "owl \N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "../x",
        "birds/../both.txt",
        "birds//owl.md",
        "./both.txt",
        "secret",
        "up",
        "up/library/both.txt",
        "birds",
        "fifo",
        "none",
        "a\0b",
        "birds/owl.md/x",
        "x" * 5000,
        "\ud800",
    ],
)
def test_a_path_that_leads_elsewhere_is_refused(library, path):
    with pytest.raises(LibraryError, match=r"no path in this library|cannot be read here|no file"):
        library.read(path)


@given(st.text())
def test_no_path_raises_anything_else(library, path):
    with contextlib.suppress(LibraryError):
        library.read(path)


def test_what_is_returned_has_a_bound(tmp_path):
    (tmp_path / "long").write_text("owl " + "x" * (INDEXED_MAX + 10))
    (tmp_path / "later").write_text("y " * (INDEXED_MAX // 2) + "beyond")
    for number in range(60):
        (tmp_path / f"{number}").write_text("é" * 100_000 + " owl")
    with Library.open(tmp_path) as library:
        assert len(library.read("long", 0, 10**9).text) == READ_MAX
        hits = library.search("owl", 1000)
        assert len(hits) == HITS_MAX
        assert all(len(hit.excerpt) <= 400 and len(hit.title) <= 120 for hit in hits)
        assert library.search("beyond") == ()


def test_a_kept_index_serves_the_same_folder_and_is_made_anew_for_another(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/one").write_text("owl")
    index = tmp_path / "index"
    with Library.open(tmp_path / "folder", index) as library:
        assert library.search("owl")
    made = index.stat().st_mtime_ns
    with Library.open(tmp_path / "folder", index) as library:
        assert library.search("owl")
    assert index.stat().st_mtime_ns == made
    (tmp_path / "folder/two").write_text("wren")
    with Library.open(tmp_path / "folder", index) as library:
        assert library.search("wren")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "index"]


def test_a_broken_index_is_made_anew(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/one").write_text("owl")
    (tmp_path / "index").write_bytes(b"SQLite format 3\0" + b"broken" * 1000)
    with Library.open(tmp_path / "folder", tmp_path / "index") as library:
        assert library.search("owl")


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(LibraryError, match="nothing"):
        Library.open(tmp_path / "nothing")


def test_a_file_that_changed_since_is_not_read(tmp_path):
    (tmp_path / "one").write_text("owl")
    with Library.open(tmp_path) as library:
        (tmp_path / "one").write_text("a wren instead")
        (tmp_path / "two").write_text("a late owl")
        with pytest.raises(LibraryError, match="changed since the library was opened"):
            library.read("one")
        with pytest.raises(LibraryError, match="no path in this library"):
            library.read("two")


def test_the_digest_names_every_path_and_byte_and_nothing_else(tmp_path):
    def digest(**files):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        for name, data in files.items():
            (folder / name).write_bytes(data)
        with Library.open(folder) as library:
            return library.digest()

    one = digest(a=b"owl", b=b"\0picture")
    assert one == digest(b=b"\0picture", a=b"owl")
    others = {digest(a=b"owl"), digest(a=b"owl", b=b"\0pictura"), digest(a=b"owl", c=b"\0picture")}
    assert len(others | {one, digest(), digest(a=bytes(INDEXED_MAX) + b"1")}) == 6
    assert digest(a=bytes(INDEXED_MAX) + b"1") != digest(a=bytes(INDEXED_MAX) + b"2")


def test_a_kept_index_keeps_its_digest(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/one").write_text("owl")
    with Library.open(tmp_path / "folder", tmp_path / "index") as library:
        digest = library.digest()
    with Library.open(tmp_path / "folder", tmp_path / "index") as library:
        assert library.digest() == digest


def test_what_is_no_library_is_named(tmp_path):
    (tmp_path / "notes.txt").write_text("owl")
    with pytest.raises(LibraryError, match=r"notes\.txt: neither a folder nor a \.warc"):
        Library.open(tmp_path / "notes.txt")
    (tmp_path / "crawl.warc").write_bytes(b"")
    with pytest.raises(LibraryError, match="WARC files stand beside others"):
        Library.open(tmp_path)
