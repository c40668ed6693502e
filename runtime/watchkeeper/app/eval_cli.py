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


@eval_app.command("scale")
def scale(
    nodes: Annotated[int, typer.Option(min=20, max=50_000, help="Nodes of 8 GPUs")] = 1_500,
    burst: Annotated[
        int | None, typer.Option(min=2, max=10_000, help="Also this many faults in one window")
    ] = None,
    policies: Annotated[Path, typer.Option(help="Directory of standing orders")] = Path("policies"),
    as_json: JsonOption = False,
) -> None:
    """How large a fleet one watch carries: ingest, turns, a fault to its verdict, a burst."""
    from datetime import UTC, datetime

    from watchkeeper.adapters.policy_files import read_policy_dir
    from watchkeeper.core.errors import UsageError
    from watchkeeper.policy.load import load
    from watchkeeper_evals.scale_eval import scale_eval, table

    if burst and 2 * burst > nodes:
        raise UsageError(f"--burst {burst} fills half of a pool: give --nodes {2 * burst} or more.")
    orders = load(read_policy_dir(policies), datetime.now(UTC))
    found = scale_eval(nodes, burst, orders, progress=lambda said: typer.echo(said, err=True))
    say(json.dumps(found, indent=2) if as_json else table(found))


@eval_app.command("remediation")
def remediation(
    nodes: Annotated[int, typer.Option(min=1, max=100_000, help="Workers of the twin")] = 256,
    gpus_per_node: Annotated[int, typer.Option(min=1, max=256)] = 8,
    days: Annotated[float, typer.Option(min=0.01, max=3650, help="Simulated days")] = 14.0,
    seeds: Annotated[int, typer.Option(min=1, max=100_000, help="How many seeds")] = 3,
    first_seed: Annotated[int, typer.Option(min=0, help="The first of them")] = 1,
    noise_only: Annotated[bool, typer.Option(help="Nothing breaks; noise alone")] = False,
    fault_trace: Annotated[
        Path | None, typer.Option(help="CSV t_s,node,fault,duration_s in place of drawn faults")
    ] = None,
    policies: Annotated[Path, typer.Option(help="Directory of standing orders")] = Path("policies"),
    parallel: Annotated[bool, typer.Option(help="Spread over Ray tasks (RAY_ADDRESS)")] = False,
    jobs: Annotated[
        int, typer.Option(min=1, max=1024, help="Processes of this machine, a seed in each")
    ] = 1,
    out: Annotated[
        Path | None, typer.Option(help="Keep each run here; what is there is not played again")
    ] = None,
    collect: Annotated[bool, typer.Option(help="Play nothing: sum up what --out holds")] = False,
    only: Annotated[
        str, typer.Option(help="Controllers to play, by comma: none,oracle; default all")
    ] = "",
    report: Annotated[Path | None, typer.Option(help="Write an HTML page with plots")] = None,
    as_json: JsonOption = False,
) -> None:
    """Hold the watch against simple controllers and an all-knowing one, on a simulated cluster."""
    from watchkeeper_evals.remediation.command import Asked, run

    asked = Asked(
        nodes=nodes,
        gpus_per_node=gpus_per_node,
        days=days,
        seeds=seeds,
        first_seed=first_seed,
        noise_only=noise_only,
        fault_trace=fault_trace,
        policies=policies,
        parallel=parallel,
        jobs=jobs,
        out=out,
        collect=collect,
        only=only,
        report=report,
    )
    say(run(asked, as_json=as_json))


@eval_app.command("placement")
def placement(
    nodes: Annotated[Path, typer.Option(help="CSV[.gz] sn,cpu_milli,memory_mib,gpu,model")],
    jobs: Annotated[
        Path | None,
        typer.Option(help="CSV[.gz] name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec"),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=10_000, help="How many seeds")] = 10,
    load: Annotated[
        float, typer.Option(min=0.01, max=100, help="GPUs asked for, as a share of all GPUs")
    ] = 1.3,
    first_seed: Annotated[int, typer.Option(min=0, help="The first of them")] = 42,
    against: Annotated[
        Path | None, typer.Option(help="CSV workload,06-FGD: figures published for job lists")
    ] = None,
    topology: Annotated[
        bool, typer.Option(help="Gangs over synthetic racks, with time, in place of a job list")
    ] = False,
    workloads: Annotated[
        int, typer.Option(min=10, max=1_000_000, help="With --topology: how many gangs arrive")
    ] = 15_000,
    most: Annotated[
        int, typer.Option(min=1, max=100_000, help="With --topology: so many nodes, largest first")
    ] = 640,
    as_json: JsonOption = False,
) -> None:
    """How much of a fleet stays unused when more work arrives than it holds, and how fast."""
    from watchkeeper_evals.placement_command import Asked, run

    asked = Asked(nodes, jobs, seeds, load, first_seed, against, topology, workloads, most)
    say(run(asked, as_json=as_json))


@eval_app.command("forecast")
def forecast(
    series: Annotated[Path | None, typer.Option(help="CSV[.gz] with a time and a value")] = None,
    time: Annotated[str, typer.Option(help="Column of the time (UTC, or epoch seconds)")] = "time",
    value: Annotated[str, typer.Option(help="Column of the value; also A-B or A+B")] = "",
    where: Annotated[
        list[str] | None, typer.Option(help="COLUMN=TEXT: only rows that say so; repeatable")
    ] = None,
    cumulate: Annotated[
        bool, typer.Option(help="The values are flows: take the sum so far")
    ] = False,
    horizon: Annotated[str, typer.Option(help="How far ahead: 24h, 90m")] = "24h",
    step: Annotated[str, typer.Option(help="Means over steps of: 1h, 10m")] = "1h",
    test_share: Annotated[
        float, typer.Option(min=0.01, max=0.95, help="Share of the days, the last, that is tested")
    ] = 0.4,
    seed: Annotated[int, typer.Option(min=0, help="What forest and boosting are drawn by")] = 0,
    traces: Annotated[
        Path | None, typer.Option(help="In place of --series: every known trace below this folder")
    ] = None,
    jobs: Annotated[
        int, typer.Option(min=1, max=1024, help="With --traces: processes of this machine")
    ] = 1,
    parallel: Annotated[
        bool, typer.Option(help="With --traces: spread over Ray tasks (RAY_ADDRESS)")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="With --series: write an HTML page with the fan")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """How good the forecasts of demand are, beside plain ones, on a history of your own."""
    from watchkeeper_evals.forecast_command import Asked, run

    asked = Asked(
        series=series,
        time=time,
        value=value,
        where=tuple(where or ()),
        cumulate=cumulate,
        horizon=horizon,
        step=step,
        test_share=test_share,
        seed=seed,
        traces=traces,
        jobs=jobs,
        parallel=parallel,
        report=report,
    )
    say(run(asked, as_json=as_json))
