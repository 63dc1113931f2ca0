"""One e-mail in the world: who is written to, what is in it, what nobody knows."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audition.act import Mail, MailSetup, SetupError
from audition.step import Act, Outcome, Ticket, digest_of
from servers.certificate import certificate
from servers.process import Server

PASSWORD = "pass-word-of-the-sender"


@pytest.fixture(scope="module")
def post(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server("mail", tmp_path_factory.mktemp("mail") / "log") as server:
        yield server


def setup(port: int = 25, **changes: Any) -> MailSetup:
    allowed = {"recipients": ["ann@example.org", "@test.example"], "sender": "bot@example.org"}
    given = {"host": "127.0.0.1", "port": port, "tls": "none", "seconds": 20, **allowed}
    return MailSetup.model_validate({**given, **changes})


def ticket(*to: str, run: str = "0", **arguments: Any) -> Ticket:
    nothing = "0" * 64
    said = {"to": list(to), "subject": "hello", "text": "how are you?\n", **arguments}
    parts = dict.fromkeys(("moment", "proposal", "tool"), nothing)
    return Ticket(run=run * 32, expires=0, act=Act(tool="mail", arguments=said), **parts)


def send(port: int, *to: str, changes: dict[str, Any] | None = None, **arguments: Any) -> Outcome:
    tool, asked = Mail(setup(port, **(changes or {}))), ticket(*to, **arguments)
    assert isinstance(asked.act, Act) and tool.refuses(asked.act) == ""
    return anyio.run(tool.act, asked)


def received(post: Server) -> Any:
    return email.message_from_string(post.log[-1]["data"], policy=email.policy.default)


TOOL = Mail(setup())


# ------------------------------------------------------------------------ what is sent


def test_a_mail_arrives_as_approved(post: Server) -> None:
    text = ".\n..\nFrom the heart: «grüße»\n" + "long " * 1000 + "\n.\n"
    outcome = send(post.port, "ann@example.org", "Bob@test.example", subject="Grüße", text=text)
    assert (outcome.status, outcome.output) == ("done", "sent to 2 of 2: queued as 1")
    assert post.log[-1]["from"] == "bot@example.org"
    assert post.log[-1]["to"] == ["ann@example.org", "Bob@test.example"]
    mail = received(post)
    assert mail["From"] == "bot@example.org"
    assert mail["To"] == "ann@example.org, Bob@test.example"
    assert mail["Subject"] == "Grüße"
    assert mail.get_content().replace("\r\n", "\n") == text
    assert not mail.is_multipart()


def test_its_message_id_is_its_tickets(post: Server) -> None:
    outcome = send(post.port, "ann@example.org")
    assert received(post)["Message-ID"] == f"<{digest_of(ticket('ann@example.org'))}@example.org>"
    assert outcome.data["message_id"] == received(post)["Message-ID"]
    again = send(post.port, "ann@example.org", run="a")
    assert again.data["message_id"] != outcome.data["message_id"]


@given(
    subject=st.text(max_size=200),
    text=st.text(alphabet=st.sampled_from("a .\n\r\té\u2028😀:\x0b\x85"), max_size=200),
)
def test_no_text_becomes_a_header_or_a_second_mail(subject: str, text: str) -> None:
    tool = TOOL
    arguments = {"to": ["ann@example.org"], "subject": subject, "text": text}
    act = Act(tool="mail").model_copy(update={"arguments": arguments})
    if tool.refuses(act):
        return
    mail = bytes(tool._message(*_parts(act)))
    head = mail.partition(b"\r\n\r\n")[0].replace(b"\r\n ", b" ").replace(b"\r\n\t", b" ")
    names = [line.partition(b":")[0].lower() for line in head.split(b"\r\n")]
    known = [b"from", b"to", b"subject", b"date", b"message-id", b"content-type"]
    assert names[:6] == known
    assert set(names[6:]) == {b"content-transfer-encoding", b"mime-version"}
    assert mail.isascii()


def _parts(act: Act) -> Any:
    from audition.act.mail import MailArguments

    return MailArguments.model_validate(act.arguments), ticket("ann@example.org")


# ------------------------------------------------------------------------ what is allowed


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"to": ["eve@example.org"]}, "eve@example.org is not among those"),
        ({"to": ["ann@example.org", "eve@sub.test.example"]}, "is not among those"),
        ({"to": ["Ann <ann@example.org>"]}, "plain addresses"),
        ({"to": ["ann@example.org\r\nRCPT TO:<eve@evil>"]}, "plain addresses"),
        ({"to": ["ann@example.org>"]}, "plain addresses"),
        ({"to": ["ann@example.org,eve@evil.test"]}, "plain addresses"),
        ({"to": ["a\u0131@test.example"]}, "plain addresses"),
        ({"to": ["ann@example.org", "ANN@example.org"]}, "each address once"),
        ({"to": [f"a{n}@test.example" for n in range(4)]}, "more than 3 recipients"),
        ({"to": []}, "mail.to"),
        ({"to": "ann@example.org"}, "mail.to"),
        ({"subject": "a\r\nBcc: eve@evil.test"}, "one line of printable text"),
        ({"subject": "a\u2028b"}, "one line of printable text"),
        ({"subject": "\ud800"}, "mail.subject"),
        ({"text": "\ud800"}, "mail.text"),
        ({"text": "a\0b"}, "without NUL"),
        ({"text": "x" * 101}, "more than 100 bytes"),
        ({"bcc": ["eve@evil.test"]}, "mail.bcc"),
    ],
)
def test_what_is_not_allowed_is_refused(change: dict[str, Any], why: str) -> None:
    tool = Mail(setup(most=3, bytes=100))
    good = {"to": ["ann@example.org"], "subject": "hello", "text": "you"}
    assert tool.refuses(Act(tool="mail", arguments=good)) == ""
    act = Act(tool="mail").model_copy(update={"arguments": good | change})
    assert why in tool.refuses(act)


def test_what_is_not_allowed_is_not_sent_though_a_ticket_says_so(post: Server) -> None:
    before = len(post.log)
    assert anyio.run(Mail(setup(post.port)).act, ticket("eve@evil.test")).status == "refused"
    assert len(post.log) == before


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"sender": "Bot <bot@example.org>"}, "no plain address"),
        ({"recipients": ["example.org"]}, "no address, and no @domain"),
        ({"recipients": ["@*"]}, "no address, and no @domain"),
        ({"user": "bot"}, "user and password go together"),
        ({"user": "bot", "password": "MAIL_PASSWORD"}, "not sent in clear"),
        ({"tls": "opportunistic"}, "tls"),
    ],
)
def test_a_setup_that_cannot_be_meant_is_refused(change: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        setup(**change)


# ------------------------------------------------------------------------ what came of it


def test_recipients_that_the_server_refuses_are_said(post: Server) -> None:
    outcome = send(post.port, "ann@example.org", "refused@test.example")
    assert outcome.status == "done"
    assert outcome.output == (
        "sent to 1 of 2: queued as 1; refused@test.example was refused: 550 nobody here"
    )
    assert post.log[-1]["to"] == ["ann@example.org"]
    before = len(post.log)
    outcome = send(post.port, "refused@test.example", "refused2@test.example")
    assert (outcome.status, len(post.log)) == ("failed", before)


@pytest.mark.parametrize("how", ["drop", "half", "garbage", "long", "odd"])
def test_a_server_that_takes_the_mail_and_breaks_off_leaves_it_in_doubt(
    post: Server, how: str
) -> None:
    before = len(post.log)
    outcome = send(post.port, f"{how}@test.example")
    assert outcome.status == "unknown"
    assert outcome.output.startswith("broken off while the mail was sent")
    assert outcome.data["message_id"] == received(post)["Message-ID"]
    assert len(post.log) == before + 1


def test_a_server_that_takes_the_mail_and_stalls_leaves_it_in_doubt(post: Server) -> None:
    outcome = send(post.port, "stall@test.example", changes={"seconds": 3})
    assert outcome.status == "unknown"
    assert "no answer within 3 s" in outcome.output


def test_a_mail_that_the_server_refuses_has_failed(post: Server) -> None:
    outcome = send(post.port, "reject@test.example")
    assert outcome.status == "failed"
    assert outcome.output == "the server refused it: 554 ⟨U+001B⟩[2Jspam"
    before = len(post.log)
    assert send(post.port, "early@test.example").status == "failed"
    assert len(post.log) == before


def test_without_a_connection_nothing_was_sent() -> None:
    outcome = send(1, "ann@example.org")
    assert outcome.status == "failed"
    assert outcome.output.startswith("nothing was sent")


@pytest.mark.parametrize("mode", ["tls", "starttls"])
def test_a_password_goes_to_a_verified_server_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    files, other = certificate(tmp_path), certificate(tmp_path, "127.0.0.2")
    login = {"tls": mode, "user": "bot", "password": "MAIL_PASSWORD"}
    with pytest.raises(SetupError, match=r"\$MAIL_PASSWORD is not set"):
        Mail(setup(**login))
    monkeypatch.setenv("MAIL_PASSWORD", PASSWORD)
    with Server("mail", tmp_path / "log", *files, mode, "bot", PASSWORD) as post:
        sent = send(post.port, "ann@example.org", changes={**login, "authority": str(files[0])})
        assert sent.status == "done", sent.output
        for authority in (str(other[0]), None):
            changes = {**login, "authority": authority}
            outcome = send(post.port, "ann@example.org", changes=changes)
            assert outcome.status == "failed"
            assert "CERTIFICATE_VERIFY_FAILED" in outcome.output
        assert len(post.log) == 1


def test_a_password_that_the_server_repeats_is_not_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAIL_PASSWORD", PASSWORD)
    files = certificate(tmp_path)
    changes = {"tls": "tls", "user": "bot", "password": "MAIL_PASSWORD", "authority": str(files[0])}
    with Server("mail", tmp_path / "log", *files, "tls", "bot", "another") as post:
        outcome = send(post.port, "ann@example.org", changes=changes)
        assert outcome.status == "failed"
        assert "<$MAIL_PASSWORD> is wrong" in outcome.output
        assert post.log == []


def test_where_tls_is_due_and_not_had_nothing_goes(post: Server) -> None:
    before = len(post.log)
    outcome = send(post.port, "ann@example.org", changes={"tls": "starttls"})
    assert (outcome.status, len(post.log)) == ("failed", before)
