"""An HTTP server that behaves as the path says, well or badly; every whole request is logged.

python web.py LOG [CERTIFICATE KEY]
"""

from __future__ import annotations

import asyncio
import ssl
import sys
import threading
from contextlib import suppress

from process import note, until_told


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")[:-2]
        method, target, _ = first.split(" ")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        request = {"method": method, "target": target, "headers": headers, "body": body.decode()}
        note(sys.argv[1], request)
        await behave(target.partition("?")[0].rpartition("/")[2], headers, writer)
    writer.close()


async def behave(how: str, headers: dict[str, str], writer: asyncio.StreamWriter) -> None:
    def say(status: int, body: str = "", **more: str) -> None:
        lines = [f"{name.replace('_', '-')}: {value}" for name, value in more.items()]
        head = "\r\n".join([f"HTTP/1.1 {status} As-Told", f"Content-Length: {len(body)}", *lines])
        writer.write(f"{head}\r\n\r\n{body}".encode())

    match how:
        case "elsewhere":
            say(302, Location="http://127.0.0.1:1/other?token=1")
        case "echo":
            say(200, str(headers), ETag=headers.get("authorization", ""))
        case "guarded":
            say(*((200, "changed") if headers.get("if-match") == '"1"' else (412, "another")))
        case "stall":
            print("stalls", flush=True)
            await asyncio.sleep(3600)
        case "half":
            writer.write(b"HTTP/1.1 20")
        case "garbage":
            writer.write(b"\x00\xff\x17 what?\r\n\r\n" * 10)
        case "short":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")
        case "huge":
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                writer.write(b"x" * 65536)
                await writer.drain()
        case "headers":
            writer.write(b"HTTP/1.1 200 OK\r\n")
            while True:
                writer.write(b"X: " + b"x" * 65536 + b"\r\n")
                await writer.drain()
        case "packed":
            say(200, "packed, they say", Content_Encoding="gzip")
        case "drop":
            pass
        case status if status.isdigit():
            say(int(status), f"as {status}")
        case _:
            say(200, "ok", Set_Cookie="a=b", Content_Type="text/plain")
    await writer.drain()


async def main() -> None:
    tls = None
    if len(sys.argv) > 2:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(sys.argv[2], sys.argv[3])
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls)
    print(server.sockets[0].getsockname()[1], flush=True)
    threading.Thread(target=until_told, daemon=True).start()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
