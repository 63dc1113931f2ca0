"""WARC and ZIM files: what a crawler fetched is searched and read by its address, or refused."""

import base64
import contextlib
import gzip
import hashlib
import io
import struct
import tempfile
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from libzim.writer import Creator, Hint, Item, StringProvider
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from audition.box import Library, LibraryError
from audition.box import pages as bounds
from audition.box.page_text import PAGE_MAX

OWL = "http://birds.test/owl"
DATES = {"WARC-Date": "2024-01-01T00:00:00Z"}
HTML = [("Content-Type", "text/html; charset=windows-1252")]
PAGE = "<title>The owl</title><p>hunts at night, caf\xe9<script>no()</script>".encode("cp1252")


class Crawl:
    """A WARC file in the making, by the real writer."""

    def __init__(self, compressed=True):
        self.bytes = io.BytesIO()
        self.writer = WARCWriter(self.bytes, gzip=compressed)
        self.writer._create_temp_file = io.BytesIO  # its own is never closed

    def answer(self, address, body=PAGE, headers=HTML, status="200 OK", dates=DATES):
        http = StatusAndHeaders(status, headers, protocol="HTTP/1.1")
        record = self.writer.create_warc_record(
            address, "response", io.BytesIO(body), http_headers=http, warc_headers_dict=dates
        )
        self.writer.write_record(record)
        return self

    def record(self, kind, address, body=b"", content_type="text/plain", **more):
        headers = {**DATES, **more}
        record = self.writer.create_warc_record(
            address,
            kind,
            io.BytesIO(body),
            warc_content_type=content_type,
            warc_headers_dict=headers,
        )
        self.writer.write_record(record)
        return self

    def data(self):
        return self.bytes.getvalue()


@contextlib.contextmanager
def opened(data, name="crawl.warc.gz"):
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, name)
        place.write_bytes(data)
        with Library.open(place) as library:
            yield library


def read_or_refused(data, name):
    """Nothing where it can be read, else what is said."""
    try:
        with opened(data, name) as library:
            library.search("owl wren")
    except LibraryError as error:
        return str(error)
    return ""


def refused(data, name, match):
    with pytest.raises(LibraryError, match=match) as error, opened(data, name):
        pass
    assert "\n" not in str(error.value)
    assert name in str(error.value)


@pytest.mark.parametrize(("compressed", "name"), [(True, "a.warc.gz"), (False, "a.warc")])
def test_a_page_is_found_by_its_words_and_read_at_its_address(compressed, name):
    with opened(Crawl(compressed).answer(OWL).data(), name) as library:
        (hit,) = library.search("night")
        assert (hit.title, hit.path) == ("The owl", OWL)
        passage = library.read(OWL)
        assert passage.text == "The owl\nhunts at night, caf\xe9"
        assert passage.size == len(passage.text.encode())
        assert library.read(OWL, 4, 3).text == "owl"
        assert library.read(OWL, 10**30).text == ""
        assert (library.pages, library.left_out) == (1, 0)
        with pytest.raises(LibraryError, match="no path in this library"):
            library.read("http://birds.test/wren")


def test_a_redirect_and_a_revisit_lead_to_the_page():
    crawl = Crawl().answer(OWL)
    moved = [("Location", "/hop#part")]
    crawl.answer("http://birds.test/old", b"", moved, "301 Moved Permanently")
    crawl.answer("http://birds.test/hop", b"", [("Location", OWL)], "302 Found")
    again = {"WARC-Refers-To-Target-URI": OWL}
    crawl.record("revisit", "http://birds.test/again", **again)
    crawl.record("revisit", OWL, **again)
    with opened(crawl.data()) as library:
        for other in ("old", "hop", "again"):
            assert library.read(f"http://birds.test/{other}").path == OWL
        assert [hit.path for hit in library.search("owl")] == [OWL]


def test_redirects_in_a_ring_too_many_or_to_nowhere_lead_nowhere():
    crawl = Crawl().answer(OWL)
    chain = [f"http://birds.test/{number}" for number in range(bounds.REDIRECTS_MAX + 2)]
    for here, there in zip(chain, [*chain[1:], OWL], strict=True):
        crawl.answer(here, b"", [("Location", there)], "301 Moved")
    for here, there in (("ring", "gnir"), ("gnir", "ring"), ("lost", "nowhere"), ("odd", "//[")):
        crawl.answer(f"http://birds.test/{here}", b"", [("Location", there)], "301 Moved")
    with opened(crawl.data()) as library:
        assert library.read(chain[-1]).path == OWL
        assert library.read(chain[2]).path == OWL
        for lost in (chain[0], *(f"http://birds.test/{name}" for name in ("ring", "lost", "odd"))):
            with pytest.raises(LibraryError, match="no path in this library"):
                library.read(lost)


def test_of_two_captures_the_later_stays_whatever_their_order():
    early, late = ({"WARC-Date": f"20{year}-01-01T00:00:00Z"} for year in (10, 20))
    crawl = Crawl().answer(OWL, b"<p>late", dates=late).answer(OWL, b"<p>early", dates=early)
    with opened(crawl.data()) as library:
        assert library.read(OWL).text == "late"
        assert library.search("early") == ()


def test_what_is_no_page_is_left_out_and_counted():
    crawl = Crawl().answer(OWL, b"gone", status="404 Not Found")
    crawl.answer("http://birds.test/picture", b"\x89PNG\0", [("Content-Type", "image/png")])
    crawl.answer("http://birds.test/brotli", b"??", [*HTML, ("Content-Encoding", "br")])
    crawl.record("metadata", "http://birds.test/about", b"owl")
    crawl.record("resource", "http://birds.test/wren", b"The wren sings.")
    crawl.record("conversion", "http://birds.test/tit", b"The tit, as text.")
    with opened(crawl.data()) as library:
        assert (library.pages, library.left_out) == (2, 4)
        assert library.read("http://birds.test/wren").text == "The wren sings."


@pytest.mark.parametrize(
    ("coding", "encode"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda data: zlib.compress(data)[2:-4]),
    ],
)
@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_is_read_in_whatever_coding_it_was_sent(coding, encode, chunked):
    body = encode(PAGE)
    if chunked:
        halves = body[:10], body[10:]
        body = b"".join(b"%x;a=b\r\n%s\r\n" % (len(half), half) for half in halves) + b"0\r\n\r\n"
    headers = [*HTML, ("Content-Encoding", coding), ("Transfer-Encoding", "chunked")]
    with opened(Crawl().answer(OWL, body, headers).data()) as library:
        assert "hunts at night" in library.read(OWL).text


def test_a_body_that_swells_without_end_is_read_up_to_the_bound():
    bomb = gzip.compress(bytes(b"a " * (20 << 20)), 9)
    headers = [("Content-Type", "text/plain"), ("Content-Encoding", "gzip")]
    with opened(Crawl().answer(OWL, bomb, headers).data()) as library:
        assert library.read(OWL).size == PAGE_MAX


def test_a_folder_of_crawls_is_one_library(tmp_path):
    (tmp_path / "more").mkdir()
    (tmp_path / "one.warc.gz").write_bytes(Crawl().answer(OWL).data())
    crawl = Crawl(False).answer("http://birds.test/wren", b"<p>wren")
    (tmp_path / "more/two.warc").write_bytes(crawl.data())
    with Library.open(tmp_path) as library:
        assert library.pages == 2
        assert library.search("wren")


def test_the_digest_is_of_what_is_read_and_not_of_how_it_is_packed():
    def digest(*crawls, compressed=True):
        crawl = Crawl(compressed)
        for address, body in crawls:
            crawl.answer(address, body)
        with opened(crawl.data(), "a.warc.gz" if compressed else "a.warc") as library:
            return library.digest()

    one, two = (OWL, b"<p>owl"), ("http://birds.test/wren", b"<p>wren")
    assert digest(one, two) == digest(two, one) == digest(one, two, compressed=False)
    others = (digest(one), digest(one, (two[0], b"<p>wran")), digest(one, (two[0] + "s", two[1])))
    assert len({digest(one, two), *others}) == 4


def plain_record(length=None, block=b"owl", end=b"\r\n\r\n", more=b""):
    head = b"WARC/1.1\r\nWARC-Type: resource\r\nWARC-Target-URI: http://a.test/\r\n"
    head += b"Content-Type: text/plain\r\n" + more
    return head + b"Content-Length: %s\r\n\r\n" % (length or b"%d" % len(block)) + block + end


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"garbage\r\n\r\n" + plain_record(), "record 1: begins with b'garbage"),
        (plain_record() + b"garbage", "record 2: begins with b'garbage'"),
        (plain_record(b"2"), "record 1: goes on with b'l.* beyond the 2 bytes it says"),
        (plain_record(b"4000"), "record 1: cut short after 7 of 4,000 bytes"),
        (plain_record(b"-1"), "says '-1' of its length, which is no number"),
        (plain_record(b"1_0"), "which is no number"),
        (plain_record(b"9" * 5000), "which is no number"),
        (plain_record(end=b"\r\n"), "goes on with"),
        (plain_record(more=b"X: " + b"y" * 70_000 + b"\r\n"), "headers of more than 65,536 bytes"),
        (plain_record(more=b"X: y\r\n" * 12_000), "headers of more than 65,536 bytes"),
        (b"x" * 200_000, "headers of more than 65,536 bytes"),
        (b"\r\n\r\n", r"begins with b'\\r\\n'"),
        (plain_record(more=b"WARC-Block-Digest: sha1:" + b"A" * 32 + b"\r\n"), "altered: it has"),
        (b"WARC/1.1\r\n", "says '' of its length"),
    ],
)
def test_a_broken_crawl_is_refused_in_one_line_that_says_where(data, why):
    refused(data, "crawl.warc", why)


def test_an_empty_crawl_has_no_pages():
    with opened(b"", "crawl.warc") as library:
        assert (library.pages, library.search("owl")) == (0, ())


def test_a_bomb_of_gzip_is_refused(monkeypatch):
    monkeypatch.setattr("audition.box.warc.SWELL_FREE", 1 << 20)
    bomb = gzip.compress(plain_record(block=bytes(8 << 20)), 9)
    refused(bomb, "crawl.warc.gz", "record 1: swells to over 100 times its size")


def test_more_records_or_text_than_the_bound_is_refused(monkeypatch):
    monkeypatch.setattr("audition.box.indexing.PAGES_MAX", 2)
    refused(plain_record() * 3, "crawl.warc", "more than 2 records; split it")
    monkeypatch.undo()
    monkeypatch.setattr("audition.box.indexing.MEMORY_MAX", 5)
    refused(plain_record() * 2, "crawl.warc", "keep its index in a file")


def test_what_is_refused_leaves_no_index_behind(tmp_path):
    (tmp_path / "crawl.warc").write_bytes(plain_record() + plain_record(b"4000"))
    with pytest.raises(LibraryError, match="cut short"):
        Library.open(tmp_path / "crawl.warc", tmp_path / "index")
    assert [path.name for path in tmp_path.iterdir()] == ["crawl.warc"]


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "real.warc").write_bytes(plain_record())
    for name in ("link.warc", "link.zim"):
        (tmp_path / name).symlink_to(tmp_path / "real.warc")
        with pytest.raises(LibraryError, match=f"{name}: no file, or a link to one"):
            Library.open(tmp_path / name)


CRAWL = Crawl().answer(OWL).answer("http://birds.test/wren", b"<p>wren " * 200).data()


@settings(deadline=None)
@given(st.integers(1, len(CRAWL) - 1))
def test_a_crawl_cut_anywhere_is_read_as_far_as_records_are_whole_or_refused(at):
    with contextlib.suppress(LibraryError), opened(CRAWL[:at]) as library:
        assert library.read(OWL).text


@settings(deadline=None)
@given(st.integers(0, len(CRAWL) - 1), st.integers(1, 255))
def test_a_crawl_with_any_byte_flipped_is_read_or_refused_in_one_line(at, by):
    data = bytearray(CRAWL)
    data[at] ^= by
    assert "\n" not in read_or_refused(bytes(data), "a.warc.gz")


PLAIN = Crawl(False).answer(OWL).answer(OWL + "s", b"5\r\n<p>ab\r\n0\r\n\r\n").data()


@settings(deadline=None)
@given(st.integers(0, len(PLAIN) - 1), st.binary(max_size=8))
def test_a_crawl_with_anything_written_over_it_is_read_or_refused_in_one_line(at, what):
    assert "\n" not in read_or_refused(PLAIN[:at] + what + PLAIN[at + len(what) :], "a.warc")


class Article(Item):
    def __init__(self, path, content, mimetype="text/html"):
        super().__init__()
        self.path, self.content, self.mimetype = path, content, mimetype

    def get_path(self):
        return self.path

    def get_title(self):
        return self.path

    def get_mimetype(self):
        return self.mimetype

    def get_contentprovider(self):
        return StringProvider(self.content)

    def get_hints(self):
        return {Hint.FRONT_ARTICLE: True}


@pytest.fixture(scope="module")
def zim(tmp_path_factory):
    place = tmp_path_factory.mktemp("zim") / "birds.zim"
    with Creator(place).config_indexing(False, "eng") as making:
        making.add_item(Article("owl", "<title>The owl</title><p>hunts at night"))
        making.add_item(Article("wren", "The wren sings.", "text/plain"))
        making.add_item(Article("picture", b"\x89PNG\0", "image/png"))
        making.add_redirection("Strigiformes", "Strigiformes", "owl", {})
        making.add_metadata("Title", "Birds")
    return place


def test_a_zim_is_searched_and_read_by_the_paths_of_its_entries(zim):
    with Library.open(zim) as library:
        (hit,) = library.search("night")
        assert (hit.title, hit.path) == ("The owl", "owl")
        assert library.read("Strigiformes").path == "owl"
        assert library.read("wren").text == "The wren sings."
        assert (library.pages, library.left_out) == (2, 1)


def test_the_same_pages_have_the_same_digest_in_a_folder(zim, tmp_path):
    with Library.open(zim) as library:
        for path in ("owl", "wren", "Strigiformes"):
            (tmp_path / path).write_text(library.read(path).text)
        digest = library.digest()
    with Library.open(tmp_path) as library:
        assert library.digest() == digest


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_a_zim_cut_or_flipped_anywhere_is_refused_in_one_line(zim, data):
    whole = bytearray(zim.read_bytes())
    at = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        del whole[at:]
    else:
        whole[at] ^= data.draw(st.integers(1, 255))
    refused(bytes(whole), "birds.zim", "no ZIM file|cut short|altered")


def forged(whole, at, by):
    """As it was, but for one byte, with a checksum that fits."""
    body = bytearray(whole[:-16])
    body[at] ^= by
    return bytes(body) + hashlib.md5(body).digest()


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=12, deadline=None
)
@given(st.data())
def test_a_forged_zim_is_read_or_refused_in_one_line(zim, data):
    whole = zim.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 25).filter(lambda at: not 72 <= at < 80))
    assert "\n" not in read_or_refused(
        forged(whole, at, data.draw(st.integers(1, 255))), "birds.zim"
    )


@pytest.mark.full
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_a_zim_forged_in_its_first_bytes_is_read_or_refused_in_one_line(zim, data):
    whole = zim.read_bytes()
    at = data.draw(st.integers(4, 400).filter(lambda at: not 72 <= at < 80))
    flipped = forged(whole, at, data.draw(st.integers(1, 255)))
    assert "\n" not in read_or_refused(flipped, "birds.zim")


READERS = {
    "raise SystemExit(3)": "stopped midway",
    "import os; os.kill(os.getpid(), 11)": "stopped midway",
    "import os; os.write(1, bytes(100))": "ended with 1",
    "import os; os.write(1, b'\\xff' * 100)": "stopped midway",
    "import os; os.write(1, b'\\4' + bytes(8))": "the file is broken",
    "x = bytearray(1 << 40)": "stopped midway",
}


@pytest.mark.parametrize("source", READERS)
def test_a_reader_that_crashes_or_lies_is_an_error_and_nothing_is_half_indexed(
    source, zim, tmp_path, monkeypatch
):
    reader = tmp_path / "reader.py"
    reader.write_text(f"{source}\nraise SystemExit(1)")
    monkeypatch.setattr("audition.box.zim._READER", reader)
    with pytest.raises(LibraryError, match=READERS[source]):
        Library.open(zim, tmp_path / "index")
    assert [path.name for path in tmp_path.iterdir()] == ["reader.py"]


def test_the_reader_has_little_memory_and_none_of_the_callers_secrets(zim, tmp_path, monkeypatch):
    source = Path(bounds.__file__).with_name("zim_entries.py").read_text()
    reader = tmp_path / "reader.py"
    look = "import os, resource; assert 'TOKEN' not in os.environ\n"
    bound = "        assert resource.getrlimit(resource.RLIMIT_DATA)[0] == MEMORY_MAX\n"
    anchor = "        archive = Archive(Path(name))\n"
    assert anchor in source
    reader.write_text(look + source.replace(anchor, bound + anchor))
    monkeypatch.setenv("TOKEN", "secret")
    monkeypatch.setattr("audition.box.zim._READER", reader)
    with Library.open(zim) as library:
        assert library.pages == 2


def test_a_header_with_nothing_behind_it_is_refused():
    head = struct.pack("<I", 0x44D495A) + bytes(68) + struct.pack("<Q", 80)
    body = head + hashlib.md5(head).digest()
    refused(body, "birds.zim", "no ZIM|broken|corrupted")


@pytest.mark.parametrize("name", ["birds.zim", "birds.warc"])
def test_without_its_reader_it_says_what_to_install(name, tmp_path, monkeypatch):
    (tmp_path / name).write_bytes(plain_record())
    monkeypatch.setattr("audition.box.zim.find_spec", lambda _: None)
    monkeypatch.setitem(__import__("sys").modules, "warcio.statusandheaders", None)
    with pytest.raises(LibraryError, match="pip install "):
        Library.open(tmp_path / name)


def test_digests_of_blocks_are_checked_as_their_writer_made_them():
    sum_ = base64.b32encode(hashlib.sha1(b"owl").digest())
    data = plain_record(more=b"WARC-Block-Digest: sha1:" + sum_ + b"\r\n")
    with opened(data, "a.warc") as library:
        assert library.pages == 1
    refused(data.replace(b"owl", b"owI"), "a.warc", "altered")
