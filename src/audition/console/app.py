"""The commands, by name; each is imported here and does its own heavy importing when it runs."""

from __future__ import annotations

import io
import sys

import typer

from audition import __version__
from audition.console import (
    archiving,
    auditing,
    checking,
    demo,
    deploying,
    doctor,
    executing,
    init,
    keys,
    lab,
    learning,
    migrating,
    people,
    redacting,
    reviewing,
    running,
    runs,
    training,
    trusting,
    watching,
    witnessing,
    working,
)
from audition.console.speaking import Stop, say

app = typer.Typer(
    name="audition",
    help="Every step of an AI auditioned: judged before it happens, signed into a ledger.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _version(
    version: bool = typer.Option(False, "--version", help="Print the version and stop."),
) -> None:
    if version:
        print(__version__)
        raise typer.Exit


app.command("init")(init.init)
app.command("run", epilog=running.ENDS)(running.run)
app.command("submit")(working.submit)
app.command("worker")(working.worker)
app.command("review")(reviewing.review)
app.command("runs")(runs.runs)
app.command("show")(runs.show)
app.command("watch")(watching.watch)
app.command("follow")(watching.follow)
app.command("pending")(people.pending)
app.command("judge")(people.judge)
app.command("approve")(people.approve)
app.command("reject")(people.reject)
app.command("settle")(people.settle)
app.command("executor")(executing.executor)
app.command("trust")(trusting.trust)
app.command("plants")(trusting.plants)
app.command("train")(training.train)
app.command("deploy", epilog=deploying.ENDS)(deploying.deploy)
app.command("lessons")(learning.lessons)
app.command("train-auditor")(auditing.train_auditor)
app.command("verify")(checking.verify)
app.command("witness")(witnessing.witness)
app.command("cosign")(witnessing.cosign)
app.command("archive")(archiving.archive)
app.command("redact")(redacting.redact)
app.command("export")(checking.export)
app.command("import")(checking.import_)
app.command("migrate")(migrating.migrate)
app.add_typer(lab.app, name="lab")
app.add_typer(keys.app, name="keys")
app.command("doctor")(doctor.doctor)
app.command("demo")(demo.demo)


def main() -> None:
    """Run the command line; errors of the input or the world are one line and exit code 1."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # the terminal may not know every character
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except Stop as stop:
        if stop.line:
            say(f"audition: {stop.line}")
        sys.exit(stop.code)
    except BrokenPipeError:
        sys.stderr.close()  # nobody reads any more; nothing is left to say
        sys.exit(1)
    except (KeyboardInterrupt, EOFError):
        say("audition: stopped")
        sys.exit(130)
