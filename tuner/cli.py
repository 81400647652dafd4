"""The command line: one file a group of commands in `tuner/commands/`; here they are put together.

Exit status: 0 done, 1 failed, 2 misuse (a wrong flag, a wrong field in a study file).
"""

from __future__ import annotations

import sys

import typer
from pydantic import ValidationError
from rich.console import Console

from studies.errors import InvalidInput
from tuner.commands import again, database, pool, run, serve, studies, tokens, trials, winner, worker
from tuner.errors import Refused, TunerError

app = typer.Typer(
    name="tuner",
    help="Search hyperparameters for fine-tuning pre-trained models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(run.run)
app.command()(serve.serve)
app.command()(worker.worker)
app.add_typer(pool.app, name="pool")
app.add_typer(studies.app, name="studies")
app.add_typer(trials.app, name="trials")
app.command()(winner.best)
app.command()(winner.predict)
app.command()(winner.attention)
app.command()(again.reproduce)
app.command()(again.train)
app.add_typer(tokens.app, name="tokens")
app.add_typer(database.app, name="db")


def main() -> None:
    """Run the command that `sys.argv` names; errors that we raise on purpose become one clear message."""
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        app()
    except ValidationError as error:
        # Settings are read first thing in every command, and are all that is validated outside of a study.
        _print_fields(errors, [(f"TUNER_{'_'.join(map(str, e['loc'])).upper()}", e["msg"]) for e in error.errors()])
        sys.exit(2)
    except InvalidInput as error:
        _print_fields(errors, [(entry.field, entry.message) for entry in error.errors])
        sys.exit(2)
    except Refused as refusal:
        if refusal.errors:
            _print_fields(errors, [(entry.field, entry.message) for entry in refusal.errors])
        else:
            _print_fields(errors, [("", refusal.detail)])
        sys.exit(2 if refusal.status == 422 else 1)
    except TunerError as error:
        _print_fields(errors, [("", str(error))])
        sys.exit(1)


def _print_fields(console: Console, fields: list[tuple[str, str]]) -> None:
    for field, message in fields:
        console.print("[bold red]error[/]", end=" ")
        console.print(f"{field}: {message}" if field else message, markup=False)
