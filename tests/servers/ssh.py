"""An SSH server that runs commands in a shell, as any does; every command is logged.

The command `hang-up` is lost after it was sent, `stall` never ends; the user `locked` may log in
and run nothing.

python ssh.py LOG HOST-KEY AUTHORIZED-KEYS FOLDER
"""

from __future__ import annotations

import asyncio
import sys
import threading

import asyncssh
from process import note, until_told

LOG, HOST_KEY, AUTHORIZED, FOLDER = sys.argv[1:]


async def handle(process: asyncssh.SSHServerProcess[bytes]) -> None:
    command = process.command or ""
    note(LOG, {"command": command, "env": dict(process.env), "term": process.term_type})
    match command:
        case "hang-up":
            process.channel.get_connection().abort()
        case "stall":
            await asyncio.sleep(3600)
        case "killed":
            process.exit_with_signal("KILL", False, "out of memory")
        case _:
            shell = await asyncio.create_subprocess_shell(
                command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd=FOLDER,
            )
            out, err = await shell.communicate()
            process.stdout.write(out)
            process.stderr.write(err)
            process.exit(shell.returncode or 0)


class Login(asyncssh.SSHServer):
    """One login, and whether it may run anything."""

    user = ""

    def begin_auth(self, username: str) -> bool:
        self.user = username
        return True

    def session_requested(self) -> asyncssh.SSHServerProcess[bytes] | bool:
        return self.user != "locked" and asyncssh.SSHServerProcess(handle, None, 3, False)


async def main() -> None:
    listener = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[HOST_KEY],
        authorized_client_keys=AUTHORIZED,
        server_factory=Login,
        encoding=None,
        allow_pty=False,
    )
    print(listener.get_port(), flush=True)
    threading.Thread(target=until_told, daemon=True).start()
    await listener.wait_closed()


if __name__ == "__main__":
    asyncio.run(main())
