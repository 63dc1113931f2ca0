"""An SMTP server that behaves as the first recipient says; every whole mail is logged.

python mail.py LOG [CERTIFICATE KEY starttls|tls USER PASSWORD]
"""

from __future__ import annotations

import asyncio
import base64
import ssl
import sys
import threading
from contextlib import suppress

from process import note, until_told

LOG, *TLS = sys.argv[1:]


class Session:
    """One connection, from the greeting to the end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.known = not TLS
        self.secure = bool(TLS) and TLS[2] == "tls"
        self.sender, self.to = "", list[str]()

    async def talk(self) -> None:
        await self.say("220 mail.test here")
        while line := (await self.reader.readline()).decode().rstrip("\r\n"):
            command, _, rest = line.partition(" ")
            match command.upper():
                case "EHLO" | "HELO":
                    offers = [] if self.secure or not TLS else ["250-STARTTLS"]
                    offers = ["250-mail.test", *offers]
                    await self.say(*offers, *["250-AUTH PLAIN"] * self.secure, "250 8BITMIME")
                case "STARTTLS":
                    await self.say("220 go ahead")
                    await self.writer.start_tls(context())
                    self.secure = True
                case "AUTH":
                    user, password = base64.b64decode(rest.split()[1]).decode().split("\0")[1:]
                    self.known = self.secure and [user, password] == TLS[3:]
                    await self.say("235 welcome" if self.known else f"535 {password} is wrong")
                case "MAIL" if self.known:
                    self.sender = address(rest)
                    await self.say("250 yes")
                case "RCPT" if self.known:
                    refused = address(rest).startswith("refused")
                    self.to += [] if refused else [address(rest)]
                    await self.say("550 nobody here" if refused else "250 yes")
                case "DATA" if self.known:
                    await self.mail(self.to[0].partition("@")[0])
                case "QUIT":
                    return await self.say("221 bye")
                case _:
                    await self.say("530 not so")
        return None

    async def mail(self, how: str) -> None:
        if how == "early":
            await self.say("421 no time")
            raise ConnectionError
        await self.say("354 go on")
        lines = list[str]()
        while (line := (await self.reader.readuntil(b"\r\n")).decode()) != ".\r\n":
            lines.append(line.removeprefix("."))
        note(LOG, {"from": self.sender, "to": self.to, "data": "".join(lines)})
        match how:
            case "drop":
                raise ConnectionError
            case "stall":
                await asyncio.sleep(3600)
            case "half":
                self.writer.write(b"25")
                raise ConnectionError
            case "garbage":
                await self.say("\x00\x01 what?")
            case "long":
                await self.say("250-" + "x" * 100_000)
            case "reject":
                await self.say("554 \x1b[2Jspam")
            case "odd":
                await self.say("299 perhaps")
            case _:
                await self.say("250 queued as 1")

    async def say(self, *lines: str) -> None:
        self.writer.write("".join(f"{line}\r\n" for line in lines).encode())
        await self.writer.drain()


def address(rest: str) -> str:
    return rest.partition("<")[2].partition(">")[0]


def context() -> ssl.SSLContext:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(TLS[0], TLS[1])
    return tls


async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
        await Session(reader, writer).talk()
    writer.close()


async def main() -> None:
    tls = context() if TLS and TLS[2] == "tls" else None
    server = await asyncio.start_server(receive, "127.0.0.1", 0, ssl=tls)
    print(server.sockets[0].getsockname()[1], flush=True)
    threading.Thread(target=until_told, daemon=True).start()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
