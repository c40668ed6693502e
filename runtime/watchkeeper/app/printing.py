"""How a command prints: a sentence, or one value as a table, JSON or YAML."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated, Any

import typer

from watchkeeper.core.tame import harmless


class Output(StrEnum):
    """How a listing is printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


OutputOption = Annotated[Output, typer.Option("-o", "--output", help="table, json or yaml")]


def say(text: str) -> None:
    """Print a line on standard output. Whoever wrote the text, a terminal obeys none of it."""
    typer.echo(harmless(text))


def say_drawn(text: str) -> None:
    """Print what `print_tables` drew: its cells are harmless, and its own colours stay."""
    typer.echo(text)


def show(output: Output, value: Any, table: str) -> None:
    """Print one value in the form that was asked for; `table` is its form for people."""
    match output:
        case Output.JSON:
            say(json.dumps(value, indent=2))
        case Output.YAML:
            from watchkeeper.policy.yaml_text import as_yaml

            say(as_yaml(value).rstrip())
        case Output.TABLE:
            say_drawn(table)
