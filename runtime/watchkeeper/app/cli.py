"""The command line. Each command is a few lines: it parses, calls one room, prints.

Heavy rooms (Ray, scikit-learn, LangGraph, HTTP) are imported by the commands that need them, so
that `watchkeeper stop` answers at once.
"""

from __future__ import annotations

import contextlib
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from watchkeeper import __version__
from watchkeeper.app.door import ask_watch
from watchkeeper.app.eval_cli import eval_app
from watchkeeper.app.hold_cli import hold, release
from watchkeeper.app.money_cli import capacity, cost, what_if
from watchkeeper.app.policy_cli import policy_app
from watchkeeper.app.printing import Output, OutputOption, say, say_drawn, show
from watchkeeper.app.queue_cli import cancel, queue, reserve, submit, unreserve
from watchkeeper.app.report_cli import add_report_commands
from watchkeeper.app.settings import DEFAULT_PORT, Home, Settings
from watchkeeper.app.token_cli import token_app
from watchkeeper.app.trust_cli import trust
from watchkeeper.app.who import me as _me
from watchkeeper.core.errors import UsageError, WatchkeeperError
from watchkeeper.core.tame import harmless, harmless_json
from watchkeeper.core.verdict import Autonomy

app = typer.Typer(
    name="watchkeeper",
    help="Keeps watch over a GPU cluster that runs Ray: repairs it inside written policy, asks "
    "where the policy says so, and writes the log.",
    epilog="Exit codes: 0 done; 1 failed; 2 usage; 3 policy does not load; 4 journal broken; "
    "5 cluster, Redis or lab unavailable; 6 no watch is running; 7 already running or port taken; "
    "8 malformed input; 9 refused.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)
journal_app = typer.Typer(help="Read and check the record.", no_args_is_help=True)
app.add_typer(policy_app, name="policy")
app.add_typer(eval_app, name="eval")
app.add_typer(journal_app, name="journal")
app.add_typer(token_app, name="token")
for command in (
    cost, capacity, what_if, submit, cancel, queue, reserve, unreserve, hold, release, trust,
):  # fmt: skip
    app.command()(command)


add_report_commands(app)

MOST_LAB_NODES = 8
"""Each is a real raylet with processes of its own."""

AsOption = Annotated[
    str,
    typer.Option(
        "--as", envvar="WATCHKEEPER_PERSON", help="Who answers; one of the policy's people"
    ),
]


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        say(f"watchkeeper {__version__}")
        raise typer.Exit


@app.command()
def up(
    ray_address: Annotated[str, typer.Option(help="A running Ray cluster, HOST:PORT")] = "",
    lab: Annotated[bool, typer.Option("--lab", help="A real Ray cluster in small, here")] = False,
    twin: Annotated[bool, typer.Option("--twin", help="A simulated cluster")] = False,
    nodes: Annotated[
        int | None, typer.Option(min=1, max=65536, help="Worker nodes of lab (4) or twin (256)")
    ] = None,
    twin_speed: Annotated[
        float, typer.Option(min=0.1, max=100, help="How many times faster the twin's time passes")
    ] = 1.0,
    twin_seed: Annotated[int, typer.Option(min=0, help="Which twin: what breaks, and when")] = 1,
    gpus_per_node: Annotated[int, typer.Option(min=1, max=16)] = 8,
    redis: Annotated[str, typer.Option(help="redis://HOST:PORT/DB; else one is started")] = "",
    policies: Annotated[str, typer.Option(help="Directory of standing orders")] = "",
    policy_key: Annotated[
        str, typer.Option(help="Public key file: only orders signed with it are taken up")
    ] = "",
    prices: Annotated[
        str, typer.Option(envvar="WATCHKEEPER_PRICES", help="Price book of the page of costs")
    ] = "",
    console: Annotated[
        str,
        typer.Option(
            envvar="WATCHKEEPER_CONSOLE", help="TOML file: public address, sessions, single sign-on"
        ),
    ] = "",
    models: Annotated[
        str,
        typer.Option(envvar="WATCHKEEPER_MODELS", help="TOML file of models; none: rules alone"),
    ] = "",
    port: Annotated[int, typer.Option(min=1, max=65535)] = DEFAULT_PORT,
    autonomy: Annotated[Autonomy | None, typer.Option(help="The dial")] = None,
    lab_time: Annotated[str, typer.Option(help='"[DAY ]HH:MM" as policy windows see it')] = "",
    job_api: Annotated[str, typer.Option(help="Ray's job API, http://HOST:8265")] = "",
    provider: Annotated[str, typer.Option(help="TOML file of the command provider")] = "",
    webhook: Annotated[str, typer.Option(help="URL that pages and tickets are posted to")] = "",
) -> None:
    """Start the watch; with no cluster named, over a lab that is started too; or over a twin."""
    from watchkeeper.app.bring_up import bring_up
    from watchkeeper.app.settings import turn_every_s

    if twin and (ray_address or lab or lab_time):
        raise UsageError("--twin is a cluster of its own; leave out --ray-address and the lab's.")
    if not twin and nodes is not None and nodes > MOST_LAB_NODES:
        raise UsageError(f"The lab has at most {MOST_LAB_NODES} nodes; --twin has more.")
    if policy_key and not policies:
        raise UsageError("--policy-key says by which key --policies DIR is signed; name both.")
    if ray_address and (lab or lab_time):
        raise UsageError("--lab and --lab-time belong to the lab; leave out --ray-address.")
    home = Home.find().make()
    settings = Settings(
        redis=redis,
        redis_says="",
        port=port,
        policies=policies,
        policy_key=policy_key,
        prices=str(Path(prices).resolve()) if prices else "",
        models=str(Path(models).resolve()) if models else "",
        console=str(Path(console).resolve()) if console else "",
        autonomy=autonomy,
        ray_address=ray_address,
        job_api=job_api,
        provider=provider,
        webhook=webhook,
        lab_time=lab_time,
        twin_nodes=(nodes or 256) if twin else 0,
        twin_gpus=gpus_per_node,
        twin_seed=twin_seed,
        twin_speed=twin_speed,
        interval_s=turn_every_s(twin_speed) if twin else 1.0,
    )
    settings.check(home)
    code = bring_up(home, settings, nodes=nodes or 4, gpus_per_node=gpus_per_node, say=say)
    raise typer.Exit(code)


@app.command()
def status(output: OutputOption = Output.TABLE) -> None:
    """How the watch and its cluster are."""
    from watchkeeper.app.print_tables import status_table

    board = ask_watch("board")
    show(output, board, status_table(board))


@app.command()
def mcp(
    name: Annotated[
        str, typer.Option("--name", help="Whom it signs for, as agent:mcp/NAME")
    ] = "assistant",
) -> None:
    """Serve an external assistant over standard input and output: reads, and suggestions that a
    person decides on."""
    from watchkeeper.app.mcp_server import server

    served = server(ask_watch, name)
    # An assistant at a home without a watch is told so, and not served nothing.
    ask_watch("health")
    served.run("stdio")


@app.command()
def watch(
    follow: Annotated[bool, typer.Option(help="Go on until interrupted")] = True,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 30,
) -> None:
    """The log as it is written: what the watch sees, thinks, asks and does."""
    from watchkeeper.app.print_tables import log_lines

    lines = ask_watch("log", after=0, limit=limit)
    say_drawn(log_lines(lines))
    after = lines[-1]["seq"] if lines else 0
    with contextlib.suppress(KeyboardInterrupt):
        while follow:
            ask_watch("wait", within_s=30.0, after=after, timeout_s=20.0)
            lines = ask_watch("log", after=after, limit=200)
            if lines:
                say_drawn(log_lines(lines))
                after = lines[-1]["seq"]


@app.command()
def incidents(output: OutputOption = Output.TABLE) -> None:
    """Incidents, newest first."""
    from watchkeeper.app.print_tables import incidents_table

    found = ask_watch("incidents")
    show(output, found, incidents_table(found))


@app.command()
def explain(ident: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Why: an incident, a proposal, or an event by its number."""
    say(ask_watch("explain", ident=ident))


@app.command()
def approvals(output: OutputOption = Output.TABLE) -> None:
    """Questions that wait for people."""
    from watchkeeper.app.print_tables import approvals_table

    found = ask_watch("asks")
    show(output, found, approvals_table(found))


def _answer(ident: str, answer: str, who: str, reason: str) -> None:
    ask = ask_watch("ask", proposal=ident)
    if ask is None:
        raise UsageError(f"There is no question {ident}. `watchkeeper approvals` lists them.")
    done = ask_watch(
        "answer",
        proposal=ident,
        answer=answer,
        person=who or _me(),
        digest=ask["digest"],
        nonce=ask["nonce"],
        reason=reason,
    )
    say(f"{ident} {ask['title']} {done['status']['state']}. {done['status']['text']}")


@app.command()
def approve(ident: Annotated[str, typer.Argument(metavar="ID")], who: AsOption = "") -> None:
    """Approve a question, exactly as it was shown."""
    _answer(ident, "approve", who, "")


@app.command()
def deny(
    ident: Annotated[str, typer.Argument(metavar="ID")],
    reason: Annotated[str, typer.Option(help="Why not; goes into the record")] = "",
    who: AsOption = "",
) -> None:
    """Deny a question."""
    _answer(ident, "deny", who, reason)


@app.command()
def notnow(ident: Annotated[str, typer.Argument(metavar="ID")], who: AsOption = "") -> None:
    """Neither yes nor no: it may be asked again later."""
    _answer(ident, "not_now", who, "")


@app.command("break-glass")
def break_glass(
    ident: Annotated[str, typer.Argument(metavar="ID")],
    reason: Annotated[str, typer.Option(help="Why; it is read at the review")],
    who: AsOption = "",
) -> None:
    """Lift the soft rules that refuse a proposal. Another person reviews it afterwards."""
    say(ask_watch("break_glass", proposal=ident, person=who or _me(), reason=reason))


@app.command()
def review(
    ident: Annotated[str, typer.Argument(metavar="ID")],
    note: Annotated[str, typer.Option(help="What you found; goes into the record")] = "",
    who: AsOption = "",
) -> None:
    """Close the review that a break-glass owes."""
    say(ask_watch("review", proposal=ident, person=who or _me(), note=note))


@app.command()
def login() -> None:
    """Print fresh one-time links to the console, one for each person of the policy."""
    links = ask_watch("login_links")
    width = max((len(name) for name, _ in links), default=0)
    for name, link in links:
        say(f"{name:<{width}}  {link}")
    if not links:
        say("The policy names no people, so nobody can log in (see --policies).")


@app.command()
def stop(
    reason: Annotated[str, typer.Option(help="Goes into the record")] = "", who: AsOption = ""
) -> None:
    """Set the stop latch. Works with web, Redis and the watch itself down."""
    from watchkeeper.adapters.stop_file import FileStop
    from watchkeeper.adapters.system_clock import SystemClock

    home = Home.find().make()
    FileStop(home.stop_file, SystemClock()).set(who or _me(), reason)
    with contextlib.suppress(WatchkeeperError):
        ask_watch("wake")
    say("Stopped. Nothing acts until a person runs `watchkeeper resume`.")


@app.command()
def resume(
    reason: Annotated[str, typer.Option(help="Goes into the record")] = "", who: AsOption = ""
) -> None:
    """Clear the stop latch, a halt, and gates closed after a worse outcome."""
    ask_watch("resume", person=who or _me(), reason=reason)
    say("Resumed.")


@app.command()
def autonomy(level: Autonomy, who: AsOption = "") -> None:
    """Set the dial: observe, ask or auto. It caps the policy from above."""
    ask_watch("set_autonomy", person=who or _me(), level=level.value)
    say(f"The dial is at {level.value}.")


class Fault(StrEnum):
    """What can be broken in the lab."""

    NODE_LOSS = "node-loss"
    XID = "xid"
    SILENCE = "silence"


@app.command()
def inject(
    fault: Fault,
    node: Annotated[list[str] | None, typer.Option(help="Node; may be given again")] = None,
    gpu: Annotated[int, typer.Option(min=0, max=15)] = 0,
    code: Annotated[int, typer.Option(min=1, max=172, help="XID code")] = 79,
) -> None:
    """Break something on purpose. Lab and twin only."""
    for name in node or [""]:
        say(ask_watch("inject", fault=fault.value, node=name, gpu=gpu, code=code))


@app.command()
def collect(
    redis: Annotated[str, typer.Option(help="redis://HOST:PORT/DB, with an add-only credential")],
    cluster: Annotated[str, typer.Option(help="The cluster's id, as /healthz tells it")],
    node: Annotated[str, typer.Option(help="Stable node name; default: the host's")] = "",
    gpus: Annotated[str, typer.Option(help="nvml, none or auto")] = "auto",
    kernel_log: Annotated[str, typer.Option(help="Kernel log to follow")] = "/dev/kmsg",
    interval: Annotated[float, typer.Option(min=0.5, max=300)] = 10.0,
) -> None:
    """Send this host's telemetry, as its own user."""
    from watchkeeper.app.collect import main as run

    argv = ["--redis", redis, "--cluster", cluster, "--gpus", gpus, "--world", "real"]
    argv += ["--interval", str(interval), "--kernel-log", kernel_log]
    raise typer.Exit(run([*argv, *(["--node", node] if node else [])]))


@app.command()
def diagnose(
    log: Annotated[Path, typer.Option(help="A kernel log or node log")],
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Read a log: signals, incidents, and what would be proposed. Touches nothing."""
    from watchkeeper.app.diagnose import run

    say(run(str(log), json=as_json).rstrip())


@journal_app.command("tail")
def journal_tail(limit: Annotated[int, typer.Option(min=1)] = 20) -> None:
    """The last events, one JSON object a line."""
    from collections import deque

    from watchkeeper.adapters.journal_file import read_events
    from watchkeeper.core.word import canonical

    for event in deque(read_events(_journal_path()), maxlen=limit):
        say(harmless_json(canonical(event).decode()))


@journal_app.command("verify")
def journal_verify() -> None:
    """Check every line of the record, and that no tail is missing."""
    from watchkeeper.adapters.journal_file import verify
    from watchkeeper.app.redis_head import mirrored_head
    from watchkeeper.core.errors import JournalBroken

    found = verify(_journal_path(), mirrored_head(Home.find()))
    if found.problem:
        raise JournalBroken(f"The journal does not hold: {found.problem}.")
    torn = f" An unfinished last line of {found.torn_bytes} bytes." if found.torn_bytes else ""
    say(f"{found.events} events hold. Head: {found.head_seq} {found.head_hash[:16]}.{torn}")


@journal_app.command("export")
def journal_export(
    to: Annotated[Path | None, typer.Option(help="File to write; else standard output")] = None,
) -> None:
    """The whole record as JSON lines."""
    from watchkeeper.adapters.journal_file import read_events
    from watchkeeper.core.word import canonical

    path = _journal_path()
    try:
        out = to.open("wb") if to else sys.stdout.buffer
    except OSError as err:
        raise UsageError(f"{to} cannot be written: {err.strerror}.") from err
    with out if to else contextlib.nullcontext():
        bare = to is None and sys.stdout.isatty()  # a file gets the bytes that were hashed
        for event in read_events(path):
            line = canonical(event)
            out.write((harmless_json(line.decode()).encode() if bare else line) + b"\n")


def _journal_path() -> Path:
    path = Home.find().journal / "journal.jsonl"
    if not path.exists():
        raise UsageError(f"There is no journal at {path}. Start a watch with `watchkeeper up`.")
    return path


@app.command()
def init(
    to: Annotated[Path, typer.Argument(help="Where the standing orders go")] = Path("policies"),
    more: Annotated[
        list[str] | None,
        typer.Option("--with", help="Orders of the library, such as change-freeze; again for more"),
    ] = None,
) -> None:
    """Copy the starting orders to a directory of yours, with others of the library."""
    from watchkeeper.app.starters import copy_starters

    say(copy_starters(to, tuple(more or ())))


@app.command()
def doctor(output: OutputOption = Output.TABLE) -> None:
    """What this machine offers the watch, and what was chosen and why."""
    from watchkeeper.app.doctor import examine, table

    found = examine(Home.find())
    show(output, found, table(found))


def main() -> None:
    """Run the command line; our errors end in one sentence and their documented exit code."""
    if os.environ.get("NO_COLOR") is not None:
        os.environ.setdefault("TERM", "dumb")
    try:
        app()
    except WatchkeeperError as err:
        typer.echo(harmless(f"watchkeeper: {err}"), err=True)
        sys.exit(err.exit_code)


if __name__ == "__main__":
    main()
