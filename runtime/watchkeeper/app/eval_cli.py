"""`watchkeeper eval …`: measures the product on this machine. It measures; it never judges."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from watchkeeper.app.printing import say

eval_app = typer.Typer(help="Measure the product on this machine.", no_args_is_help=True)

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on standard output")]


@eval_app.callback()
def _root() -> None:
    """Keeps `eval policy` a command of its own while it is the only one."""


@eval_app.command("policy")
def policy(
    rules: Annotated[int, typer.Option(min=2, max=10_000, help="Rules to load and judge")] = 500,
    seed: Annotated[int, typer.Option(help="What the rules and cases are drawn by")] = 1,
    as_json: JsonOption = False,
) -> None:
    """How fast a verdict is over many rules, and how long they take to load."""
    from watchkeeper_evals.policy_eval import policy_eval, table

    found = policy_eval(rules, seed, progress=lambda said: typer.echo(said, err=True))
    say(json.dumps(found, indent=2, ensure_ascii=False) if as_json else table(found))


@eval_app.command("guard")
def guard(
    corpus: Annotated[
        Path | None, typer.Option(help="JSON lines of calls and texts; default our own corpus")
    ] = None,
    policies: Annotated[Path, typer.Option(help="Directory of standing orders")] = Path("policies"),
    as_json: JsonOption = False,
) -> None:
    """Try hostile calls and texts on a simulated cluster: does any get through?"""
    from watchkeeper.adapters.policy_files import read_policy_dir
    from watchkeeper.policy.load import load
    from watchkeeper_evals.guard_eval import guard_eval, own_corpus, table
    from watchkeeper_evals.guard_lines import read_corpus
    from watchkeeper_evals.guard_scene import NIGHT

    lines = read_corpus(corpus or own_corpus())
    orders = load(read_policy_dir(policies), NIGHT)
    found = guard_eval(lines, orders, progress=lambda said: typer.echo(said, err=True))
    say(json.dumps(found, indent=2) if as_json else table(found))
