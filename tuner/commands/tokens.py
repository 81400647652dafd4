"""`tuner tokens …`: who may use the service."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from tuner.client import Client
from tuner.commands.output import JsonFlag, ServerOption, console, print_json, table

app = typer.Typer(help="Make, list and revoke tokens.", no_args_is_help=True)


@app.command()
def create(
    role: Annotated[Literal["viewer", "editor", "worker", "admin"], typer.Argument(help="What its owner may do.")],
    name: Annotated[str, typer.Option(help="For whom it is.")] = "",
    as_json: JsonFlag = False,
    server: ServerOption = None,
) -> None:
    """Make a token. Its secret is shown this once."""
    with Client(server) as client:
        made = client.post("/tokens", {"role": role, "name": name or role})
    if as_json:
        print_json(made)
    else:
        console.print(made["token"], markup=False, soft_wrap=True)


@app.command("list")
def list_tokens(as_json: JsonFlag = False, server: ServerOption = None) -> None:
    """All tokens, without their secrets."""
    with Client(server) as client:
        tokens = client.get("/tokens")["items"]
    if as_json:
        print_json(tokens)
        return
    rows = [[t["id"], t["role"], t["name"], t["created_at"][:19], "revoked" if t["revoked_at"] else "in force"] for t in tokens]
    console.print(table(["id", "role", "name", "made", "state"], rows))


@app.command()
def revoke(token_id: Annotated[str, typer.Argument(help="The token's id.")], server: ServerOption = None) -> None:
    """End a token at once."""
    with Client(server) as client:
        client.call("DELETE", f"/tokens/{token_id}")
    console.print(f"revoked {token_id}", markup=False)
