"""One HTTP request in the world: what is allowed, what came back, what nobody knows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audition.act import Http, HttpSetup, SetupError
from audition.step import Act, Outcome, Ticket, digest_of
from servers.certificate import certificate
from servers.process import Server

SECRET = "Bearer s3cret-of-the-api"


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server("web", tmp_path_factory.mktemp("web") / "log") as server:
        yield server


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_TOKEN", SECRET)


def setup(origin: str, **changes: Any) -> HttpSetup:
    allowed = {"origin": origin, "methods": ["GET", "POST"], "paths": ["/v1"]}
    allowed |= {"credentials": {"Authorization": "API_TOKEN"}} | changes.pop("allowed", {})
    return HttpSetup.model_validate({"origins": [allowed], "seconds": 20, **changes})


OPEN = Http(setup("https://api.test", allowed={"credentials": {}}))


def ticket(run: str = "0", **arguments: Any) -> Ticket:
    nothing = "0" * 64
    act = Act(tool="http", arguments={"method": "POST", **arguments})
    parts = dict.fromkeys(("moment", "proposal", "tool"), nothing)
    return Ticket(run=run * 32, expires=0, act=act, **parts)


def send(web: Server, how: str, /, run: str = "0", **arguments: Any) -> Outcome:
    origin = f"http://127.0.0.1:{web.port}"
    tool = Http(setup(origin, **arguments.pop("setup", {})))
    asked = ticket(run, **{"url": f"{origin}/v1/{how}", **arguments})
    assert isinstance(asked.act, Act) and tool.refuses(asked.act) == ""
    return anyio.run(tool.act, asked)


# ------------------------------------------------------------------------ what is sent


def test_a_request_is_sent_as_approved_with_the_credential_and_a_key_of_its_tickets(
    web: Server,
) -> None:
    headers = {"Content-Type": "application/json"}
    outcome = send(web, "things?a=1", body='{"é": 1}', headers=headers)
    assert (outcome.status, outcome.output, outcome.data["status"]) == ("done", "ok", 200)
    sent = web.log[-1]
    assert (sent["method"], sent["target"], sent["body"]) == ("POST", "/v1/things?a=1", '{"é": 1}')
    assert sent["headers"]["authorization"] == SECRET
    assert sent["headers"]["content-type"] == "application/json"
    asked = ticket(
        url=f"http://127.0.0.1:{web.port}/v1/things?a=1", body='{"é": 1}', headers=headers
    )
    assert sent["headers"]["idempotency-key"] == digest_of(asked)


def test_another_ticket_has_another_idempotency_key(web: Server) -> None:
    for run in "aab":
        send(web, "things", run=run)
    first, again, other = (one["headers"]["idempotency-key"] for one in web.log[-3:])
    assert first == again != other


def test_the_credential_is_in_no_schema_and_comes_back_in_no_outcome(web: Server) -> None:
    outcome = send(web, "echo")
    assert "<$API_TOKEN>" in outcome.output
    assert web.log[-1]["headers"]["authorization"] == SECRET
    assert SECRET[-10:] not in repr(outcome)
    tool = Http(setup("http://127.0.0.1:1"))
    assert SECRET[-10:] not in repr(vars(tool)) + repr(tool.schema)


def test_cookies_are_neither_kept_nor_recorded(web: Server) -> None:
    outcome = send(web, "things")
    assert outcome.data["headers"] == {"content-type": "text/plain"}
    send(web, "things")
    assert "cookie" not in web.log[-1]["headers"]


def test_no_proxy_of_the_environment_is_used(web: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert send(web, "things").status == "done"


# ------------------------------------------------------------------------ what is allowed


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"url": "https://api.test/v2/a"}, "not allowed at https://api.test"),
        ({"url": "https://api.test/v12"}, "not allowed"),
        ({"url": "http://api.test/v1/a"}, "not among the servers"),
        ({"url": "https://api.test:444/v1/a"}, "not among the servers"),
        ({"url": "https://api.test.evil/v1/a"}, "not among the servers"),
        ({"url": "https://other@api.test/v1/a"}, "plain and percent-encoded"),
        ({"url": "https://api.test@evil/v1/a"}, "plain and percent-encoded"),
        ({"url": "https://api.test\\@evil/v1/a"}, "plain and percent-encoded"),
        ({"url": "https://api.test/v1/../v2"}, "plain and percent-encoded"),
        ({"url": "https://api.test/v1/%2e%2e/v2"}, "plain and percent-encoded"),
        ({"url": "https://api.test/v1/..;/v2"}, "plain and percent-encoded"),
        ({"url": "https://api.test/v1/..%2fv2"}, "plain and percent-encoded"),
        ({"url": "https://api.test/v1/a%5cb"}, "plain and percent-encoded"),
        ({"url": "https://api.test/v1/a%00"}, "plain and percent-encoded"),
        ({"url": "https://api.test/v1//a"}, "plain and percent-encoded"),
        ({"url": "https://api.test//v1/a"}, "plain and percent-encoded"),
        ({"url": "https://api.test/v1/a b"}, "plain and percent-encoded"),
        ({"url": "https://api.test/v1/a\r\nX: y"}, "plain and percent-encoded"),
        ({"url": "https://api.test/v1/é"}, "plain and percent-encoded"),
        ({"url": "https://api.test/v1/a#b"}, "plain and percent-encoded"),
        ({"url": "HTTPS://api.test/v1/a"}, "plain and percent-encoded"),
        ({"url": "https://api.test"}, "plain and percent-encoded"),
        ({"url": "file:///etc/passwd"}, "plain and percent-encoded"),
        ({"method": "DELETE"}, "DELETE /v1/a is not allowed"),
        ({"method": "TRACE"}, "http.method"),
        ({"headers": {"Host": "evil"}}, "host is none that a proposal may set"),
        ({"headers": {"Authorization": "mine"}}, "authorization is none"),
        ({"headers": {"Idempotency-Key": "mine"}}, "idempotency-key is none"),
        ({"headers": {"Content-Length": "1"}}, "content-length is none"),
        ({"headers": {"Accept": "a\r\nX: y"}}, "one line of plain ASCII"),
        ({"headers": {"Accept": "a", "accept": "b"}}, "set once"),
        ({"headers": {"Accept ": "a"}}, "one line of plain ASCII"),
        ({"if_match": "a\r\nX: y"}, "one line of plain ASCII"),
        ({"body": "é" * 6}, "more than 10 bytes"),
        ({"body": "\ud800"}, "http.body"),
        ({"expect": [999]}, "http.expect"),
        ({"follow": True}, "http.follow"),
    ],
)
def test_what_is_not_allowed_is_refused_before_it_is_judged_and_again_before_it_is_done(
    change: dict[str, Any], why: str
) -> None:
    tool = Http(setup("https://api.test", sent=10))
    good = Act(tool="http", arguments={"method": "POST", "url": "https://api.test/v1/a"})
    assert tool.refuses(good) == ""
    act = good.model_copy(update={"arguments": good.arguments | change})
    assert why in tool.refuses(act)
    assert "\n" not in tool.refuses(act)


def test_what_is_not_allowed_is_not_sent_though_a_ticket_says_so(web: Server) -> None:
    before = len(web.log)
    tool = Http(setup(f"http://127.0.0.1:{web.port}"))
    outcome = anyio.run(tool.act, ticket(url=f"http://127.0.0.1:{web.port}/v2"))
    assert outcome.status == "refused"
    assert len(web.log) == before


@given(
    st.text(alphabet=st.sampled_from("az09-._~!$&'()*+,;=:@/%2eF?[]\\#^`{|}\"<> é"), max_size=20)
)
def test_what_fits_is_requested_to_the_letter(rest: str) -> None:
    """No client or server in between reads another path into it than the one that was judged."""
    url = f"https://api.test/v1/{rest}"
    if not OPEN.refuses(Act(tool="http", arguments={"method": "GET", "url": url})):
        read = httpx.URL(url)
        assert read.raw_path.decode() == f"/v1/{rest}"
        assert (read.scheme, read.host, read.port) == ("https", "api.test", None)
        assert not {".", "..", ""} & set(read.path.removesuffix("/").split("/")[1:])


def test_a_credential_goes_to_its_own_server_only(web: Server, tmp_path: Path) -> None:
    with Server("web", tmp_path / "log") as other:
        origins = [
            {"origin": f"http://127.0.0.1:{port}", "methods": ["POST"], "paths": ["/"], **more}
            for port, more in (
                (web.port, {"credentials": {"X-K": "API_TOKEN"}}),
                (other.port, {}),
            )
        ]
        tool = Http(HttpSetup.model_validate({"origins": origins}))
        for port in (web.port, other.port):
            anyio.run(tool.act, ticket(url=f"http://127.0.0.1:{port}/a"))
        assert web.log[-1]["headers"]["x-k"] == SECRET
        assert "x-k" not in other.log[-1]["headers"]


def test_a_setup_changes_the_schema_and_so_what_was_judged() -> None:
    digests = {
        digest_of(Http(setup("https://api.test", **change)).schema)
        for change in ({}, {"seconds": 1}, {"allowed": {"methods": ["GET"]}}, {"received": 1})
    }
    assert len(digests) == 4


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"allowed": {"origin": "https://api.test/"}}, "an origin is https://host"),
        ({"allowed": {"origin": "https://a@b"}}, "an origin is https://host"),
        ({"allowed": {"origin": "https://b:70000"}}, "an origin is https://host"),
        ({"allowed": {"paths": ["v1"]}}, "begins with a slash"),
        ({"allowed": {"paths": ["/a/../b"]}}, "no plain path"),
        ({"allowed": {"credentials": {"Host": "A"}}}, "no header that may carry"),
        ({"allowed": {"origin": "http://api.test"}}, "not sent in clear"),
        ({"allowed": {"origin": "http://127.evil.test:80"}}, "not sent in clear"),
        ({"headers": ["Accept"]}, "in lower case"),
        ({"headers": ["idempotency-key"]}, "no header that a proposal may set"),
    ],
)
def test_a_setup_that_cannot_be_meant_is_refused(change: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        setup("https://api.test", **change)


@pytest.mark.parametrize("value", [None, "", "two\nlines", "ä"])
def test_a_credential_that_is_not_there_is_said_at_once(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv("API_TOKEN")
    if value is not None:
        monkeypatch.setenv("API_TOKEN", value)
    with pytest.raises(SetupError, match=r"\$API_TOKEN"):
        Http(setup("https://api.test"))


# ------------------------------------------------------------------------ what came back


def test_a_redirect_elsewhere_is_not_followed(web: Server) -> None:
    before = len(web.log)
    outcome = send(web, "elsewhere")
    assert outcome.status == "failed"
    assert outcome.output.startswith("the server redirects to http://127.0.0.1:1/other")
    assert len(web.log) == before + 1


@pytest.mark.parametrize(
    ("how", "expect", "status"),
    [
        ("201", [], "done"),
        ("404", [], "failed"),
        ("500", [], "failed"),
        ("404", [404], "done"),
        ("200", [201], "failed"),
        ("502", [], "unknown"),
        ("504", [], "unknown"),
    ],
)
def test_the_status_says_how_it_went(web: Server, how: str, expect: list[int], status: str) -> None:
    outcome = send(web, how, expect=expect)
    assert (outcome.status, outcome.data["status"]) == (status, int(how))


@pytest.mark.parametrize(("tag", "status"), [('"1"', "done"), ('"2"', "failed")])
def test_a_precondition_is_sent_along(web: Server, tag: str, status: str) -> None:
    assert send(web, "guarded", if_match=tag).status == status


@pytest.mark.parametrize("how", ["half", "garbage", "drop", "short", "headers"])
def test_an_answer_that_breaks_off_leaves_the_act_in_doubt(web: Server, how: str) -> None:
    before = len(web.log)
    outcome = send(web, how)
    assert outcome.status == "unknown"
    assert "after the request was begun" in outcome.output
    assert len(web.log) == before + 1


def test_a_server_that_stalls_leaves_the_act_in_doubt(web: Server) -> None:
    outcome = send(web, "stall", setup={"seconds": 3})
    assert outcome.status == "unknown"
    assert "no answer within 3 s" in outcome.output


def test_an_oversized_answer_is_cut_and_the_rest_is_not_read(web: Server) -> None:
    outcome = send(web, "huge", setup={"received": 1000})
    assert (outcome.status, len(outcome.output), outcome.data["cut"]) == ("done", 1000, True)


def test_a_packed_answer_is_not_unpacked(web: Server) -> None:
    outcome = send(web, "packed")
    assert (outcome.status, outcome.output) == ("done", "packed, they say")


def test_without_a_connection_nothing_was_sent() -> None:
    tool = Http(setup("http://127.0.0.1:1"))
    outcome = anyio.run(tool.act, ticket(url="http://127.0.0.1:1/v1"))
    assert outcome.status == "failed"
    assert outcome.output.startswith("no connection, nothing was sent")


def test_a_server_is_verified_by_name_and_chain(tmp_path: Path) -> None:
    """What it cannot prove is a connection that was never made: nothing was sent."""
    ours, elsewhere = certificate(tmp_path), certificate(tmp_path, "127.0.0.2")
    for files, authority, status in (
        (ours, ours[0], "done"),
        (ours, None, "failed"),
        (elsewhere, elsewhere[0], "failed"),
    ):
        log = tmp_path / f"log-{status}"
        with Server("web", log, *files) as web:
            origin = f"https://127.0.0.1:{web.port}"
            tool = Http(setup(origin, authority=authority and str(authority)))
            outcome = anyio.run(tool.act, ticket(url=f"{origin}/v1"))
            assert outcome.status == status, outcome.output
            assert len(web.log) == (status == "done")
    assert "CERTIFICATE_VERIFY_FAILED" in outcome.output


def test_an_authority_that_is_exchanged_changes_the_schema(tmp_path: Path) -> None:
    file = tmp_path / "authority.pem"
    digests = set[str]()
    for address in ("127.0.0.1", "127.0.0.2"):
        file.write_bytes(certificate(tmp_path, address)[0].read_bytes())
        digests.add(digest_of(Http(setup("https://api.test", authority=str(file))).schema))
    assert len(digests) == 2
    with pytest.raises(SetupError, match="no certificates there"):
        Http(setup("https://api.test", authority=str(tmp_path / "gone")))
