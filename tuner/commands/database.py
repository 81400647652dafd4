"""`tuner db …`: the service's database."""

from __future__ import annotations

from typing import Annotated

import typer

from tuner.commands.output import console
from tuner.settings import Settings

app = typer.Typer(help="The service's database.", no_args_is_help=True)


@app.command()
def upgrade(database: Annotated[str | None, typer.Option(help="Database URL; default: SQLite in TUNER_HOME.")] = None) -> None:
    """Bring the schema up to date; `tuner serve` does so at its start too."""
    from tuner.db.migrate import upgrade as upgrade_schema  # brings SQLAlchemy, which no other command needs

    settings = Settings(database_url=database) if database else Settings()
    upgrade_schema(settings.url)
    console.print("the schema is up to date", markup=False)
