"""`watchkeeper token`: what programs show to the console in place of a person's session."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from watchkeeper.app.door import ask_watch
from watchkeeper.app.printing import Output, OutputOption, say, show
from watchkeeper.app.who import me

token_app = typer.Typer(
    help="Tokens of programs: made, listed and revoked while the watch runs.", no_args_is_help=True
)
AsOption = Annotated[
    str,
    typer.Option(
        "--as", envvar="WATCHKEEPER_PERSON", help="Whose it is; one of the policy's people"
    ),
]


class Scope(StrEnum):
    """What a token may be scoped to; to resume, to answer and to break the glass is a person's."""

    VIEWER = "viewer"
    POLICY_AUTHOR = "policy-author"


@token_app.command()
def create(
    name: Annotated[str, typer.Argument(help="What it is for, such as grafana")],
    role: Annotated[list[Scope] | None, typer.Option(help="What it may do; again for more")] = None,
    days: Annotated[float, typer.Option(min=0.01, max=366, help="How long it holds")] = 30,
    who: AsOption = "",
) -> None:
    """Make a token and print it: once, here and nowhere else."""
    roles = [r.value for r in role or [Scope.VIEWER]]
    made = ask_watch("token_create", name=name, roles=roles, days=days, person=who or me())
    say(made["secret"])
    typer.echo(
        f"{made['name']}: {', '.join(made['roles'])}, for {made['owner']}, until "
        f"{made['expires_at'][:16]} UTC. It is not shown again. Send it as "
        "`Authorization: Bearer TOKEN`.",
        err=True,
    )


@token_app.command("list")
def list_tokens(output: OutputOption = Output.TABLE) -> None:
    """Tokens that hold; never the tokens themselves."""
    from watchkeeper.app.print_tables import tokens_table

    found = ask_watch("token_list")
    show(output, found, tokens_table(found))


@token_app.command()
def revoke(
    which: Annotated[str, typer.Argument(metavar="NAME", help="Its name, or its id")],
    who: AsOption = "",
) -> None:
    """End a token at once: requests and open streams."""
    gone = ask_watch("token_revoke", which=which, person=who or me())
    say(f"{gone['name']} ({gone['id']}) is revoked.")
