"""Sends one e-mail as plain text, to recipients that the setup allows."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from typing import TYPE_CHECKING, Annotated, Literal

import anyio
import anyio.lowlevel
from pydantic import Field, field_validator, model_validator

from audition.act.credential import Credential, held, tls
from audition.act.schema import misfit, schema_of
from audition.failing import told
from audition.plain import shown
from audition.step import Act, Frozen, JsonObject, Outcome, Ticket, digest_of

if TYPE_CHECKING:
    import aiosmtplib

GOODBYE = 2.0
"""Seconds that taking leave of the server may take; nothing depends on it."""

_DOMAIN = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,62}(?<!-)\.?){1,20}(?<!\.)"
_ADDRESS = re.compile(rf"[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~.-]{{1,64}}@{_DOMAIN}")
_ALLOWED = re.compile(rf"(?:[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~.-]{{1,64}})?@{_DOMAIN}")


class MailSetup(Frozen):
    """`[tools.mail]`."""

    host: str = Field(min_length=1, max_length=253)
    """The mail server."""
    port: int = Field(ge=1, le=65535)
    """Its port: 465 for `tls`, 587 for `starttls`, as a rule."""
    tls: Literal["tls", "starttls", "none"]
    """TLS from the start, after `STARTTLS`, or never; where it is due and not had, nothing goes."""
    sender: str = Field(max_length=320)
    """The address that mail comes from."""
    recipients: tuple[str, ...] = Field(min_length=1, max_length=10_000)
    """Who may be written to: `ann@example.org`, or `@example.org` for everyone there."""
    most: int = Field(default=10, ge=1, le=100)
    """Most recipients of one mail."""
    bytes: int = Field(default=1 << 20, ge=1, le=1 << 24)
    """Most bytes of subject and text."""
    seconds: float = Field(default=60, gt=0, le=3600)
    """Seconds for the whole exchange."""
    user: str | None = Field(default=None, min_length=1, max_length=320, pattern=r"^[ -~]+$")
    """Whom the executor logs in as; None: nobody."""
    password: str | None = None
    """The environment variable that holds the password."""
    authority: str | None = None
    """File of certificates (PEM) that the server is verified by; None: the system's."""

    @model_validator(mode="after")
    def _coherent(self) -> MailSetup:
        if not _ADDRESS.fullmatch(self.sender):
            raise ValueError(f"sender: {self.sender!r} is no plain address")
        if wrong := [one for one in self.recipients if not _ALLOWED.fullmatch(one)]:
            raise ValueError(f"recipients: {wrong[0]!r} is no address, and no @domain")
        if (self.user is None) != (self.password is None):
            raise ValueError("user and password go together; give both, or neither")
        if self.user is not None and self.tls == "none":
            raise ValueError('a password is not sent in clear; tls = "tls" or "starttls"')
        return self


class MailArguments(Frozen):
    """What the tool takes."""

    to: list[Annotated[str, Field(max_length=320)]] = Field(min_length=1, max_length=100)
    """Plain addresses, without names."""
    subject: str = Field(max_length=500)
    """One line."""
    text: str = Field(max_length=1 << 24)
    """The mail itself."""

    @field_validator("to")
    @classmethod
    def _addresses(cls, to: list[str]) -> list[str]:
        if not all(_ADDRESS.fullmatch(one) for one in to):
            raise ValueError("plain addresses, as ann@example.org")
        if len({one.lower() for one in to}) != len(to):
            raise ValueError("each address once")
        return to

    @field_validator("subject")
    @classmethod
    def _one_line(cls, subject: str) -> str:
        if not all(character == " " or character.isprintable() for character in subject):
            raise ValueError("one line of printable text")
        return subject

    @field_validator("text")
    @classmethod
    def _utf8(cls, text: str) -> str:
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError("text that UTF-8 can carry, without lone surrogates") from None
        if "\0" in text:
            raise ValueError("text without NUL")
        return text


class Mail:
    """Sends one mail, with a `Message-ID` of its ticket's, and answers with what the server said.

    From the command `DATA` until the server's answer nobody knows whether the mail went out: what
    breaks off there is `unknown`, and the act in doubt.

    Args:
        setup: which server, from whom, to whom.
        name: the tool's name in proposals.

    Raises:
        SetupError: the password or the authority is not there.
    """

    def __init__(self, setup: MailSetup, *, name: str = "mail") -> None:
        self._setup = setup
        self._tls = tls(setup.authority)
        self._password = Credential(setup.password) if setup.password is not None else None
        declared: JsonObject = {
            **setup.model_dump(mode="json"),
            "authority": held(setup.authority),
        }
        self.schema = schema_of(
            name, f"Send an e-mail as {setup.sender}, in plain text", MailArguments, declared
        )

    def refuses(self, act: Act) -> str:
        """Why the arguments do not fit, or the mail is not allowed; empty if it is."""
        if why := misfit(MailArguments, act):
            return why
        why = self._forbidden(MailArguments.model_validate(act.arguments))
        return f"{act.tool}.{why}" if why else ""

    async def act(self, ticket: Ticket) -> Outcome:
        """Send the mail; whatever comes of it is an outcome, not an error."""
        import aiosmtplib

        assert isinstance(ticket.act, Act)
        arguments = MailArguments.model_validate(ticket.act.arguments)
        if why := self._forbidden(arguments):
            return Outcome(status="refused", output=why)
        message = self._message(arguments, ticket)
        setup = self._setup
        client = aiosmtplib.SMTP(
            hostname=setup.host,
            port=setup.port,
            use_tls=setup.tls == "tls",
            start_tls=setup.tls == "starttls",
            tls_context=self._tls,
            local_hostname=setup.sender.partition("@")[2],
            timeout=None,
        )
        sending = _Sending()
        try:
            with anyio.fail_after(setup.seconds):
                outcome = await self._send(client, arguments, bytes(message), sending)
            sending.answered = True
        except Exception as error:  # noqa: BLE001  whatever broke: was the mail begun?
            late = type(error) is TimeoutError
            why = f"no answer within {setup.seconds:g} s" if late else self._plain(told(error))
            outcome = (
                Outcome(status="unknown", output=f"broken off while the mail was sent: {why}")
                if sending.begun
                else Outcome(status="failed", output=f"nothing was sent: {why}")
            )
        finally:
            await _part(client, sending)
        data: JsonObject = {"message_id": str(message["Message-ID"]), **outcome.data}
        return outcome.model_copy(update={"data": data})

    async def _send(
        self, client: aiosmtplib.SMTP, arguments: MailArguments, message: bytes, sending: _Sending
    ) -> Outcome:
        import aiosmtplib

        await client.connect()
        sending.transport = client.transport
        if self._setup.user is not None and self._password is not None:
            await client.login(self._setup.user, self._password.secret)
        await client.mail(self._setup.sender)
        refused: dict[str, str] = {}
        for recipient in arguments.to:
            try:
                await client.rcpt(recipient)
            except aiosmtplib.SMTPRecipientRefused as error:
                refused[recipient] = self._plain(f"{error.code} {error.message}")
        data: JsonObject = {"refused": dict(refused)} if refused else {}
        said = "; ".join(f"{one} was refused: {why}" for one, why in refused.items())
        if len(refused) == len(arguments.to):
            return Outcome(status="failed", output=f"nothing was sent: {said}", data=data)
        try:
            sending.begun = True
            answer = await client.data(message)
        except aiosmtplib.SMTPDataError as error:
            if not 400 <= error.code < 600:
                raise
            why = self._plain(f"{error.code} {error.message}")
            return Outcome(status="failed", output=f"the server refused it: {why}", data=data)
        sent = f"sent to {len(arguments.to) - len(refused)} of {len(arguments.to)}"
        output = "; ".join([f"{sent}: {self._plain(answer.message)}", *([said] if said else [])])
        return Outcome(status="done", output=output, data=data)

    def _message(self, arguments: MailArguments, ticket: Ticket) -> EmailMessage:
        message = EmailMessage(policy=SMTP.clone(cte_type="7bit"))
        message["From"] = self._setup.sender
        message["To"] = ", ".join(arguments.to)
        message["Subject"] = arguments.subject
        message["Date"] = formatdate()
        message["Message-ID"] = f"<{digest_of(ticket)}@{self._setup.sender.partition('@')[2]}>"
        message.set_content(arguments.text)
        return message

    def _forbidden(self, arguments: MailArguments) -> str:
        allowed = {one.lower() for one in self._setup.recipients}
        for one in map(str.lower, arguments.to):
            if one not in allowed and f"@{one.partition('@')[2]}" not in allowed:
                return f"to: {one} is not among those who may be written to"
        if len(arguments.to) > self._setup.most:
            return f"to: more than {self._setup.most} recipients"
        if len(arguments.text.encode()) + len(arguments.subject.encode()) > self._setup.bytes:
            return f"text: more than {self._setup.bytes} bytes"
        return ""

    def _plain(self, text: str) -> str:
        """What the server said, as it may be recorded."""
        one_line = shown(" ".join(text.split()), 500)
        return self._password.hidden(one_line) if self._password is not None else one_line


class _Sending:
    """How far it came."""

    begun = False
    answered = False
    transport: asyncio.BaseTransport | None = None


async def _part(client: aiosmtplib.SMTP, sending: _Sending) -> None:
    """Take leave of a server that answers, and of the connection in any case."""
    import aiosmtplib

    try:
        if sending.answered and client.is_connected:
            with anyio.move_on_after(GOODBYE), suppress(aiosmtplib.SMTPException, OSError):
                await client.quit()
    finally:
        client.close()
        if isinstance(sending.transport, asyncio.WriteTransport):
            sending.transport.abort()  # TLS would wait for the other side to close as well
        await anyio.lowlevel.cancel_shielded_checkpoint()
