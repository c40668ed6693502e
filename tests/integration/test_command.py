"""The site's own commands: what may stand in them, what their exit codes mean, and one that
brings back a raylet which plain `ray start` had started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from watchkeeper.adapters.command import (
    CommandProvider,
    Ran,
    read_config,
    run_program,
)
from watchkeeper.adapters.effect_file import Effects
from watchkeeper.adapters.ray_cluster import RayCluster
from watchkeeper.adapters.ray_door import LOOPBACK_ENVIRONMENT
from watchkeeper.adapters.ray_lab_cluster import ENVIRONMENT, free_port
from watchkeeper.adapters.system_clock import SystemClock
from watchkeeper.core.action import Action, NodeCordon, NodeDrain, NodeRestart, PoolScale
from watchkeeper.core.cluster import RayState, World
from watchkeeper.core.errors import (
    ClusterUnavailable,
    EffectFailed,
    EffectInDoubt,
    LeaseLost,
    UsageError,
)
from watchkeeper.core.ports import EffectOrder

from .ray_fixture import descendants_gone

RESTART = NodeRestart(node="gpu-07", incarnation="ab12")
GOOD = '[commands."node.restart"]\nargv = ["/bin/echo", "{node}", "--key={key}", "{token}"]\n'


def _order(action: Action = RESTART, **changes: object) -> EffectOrder:
    fields = {"key": "k1", "token": 5, "session": "s1", "cluster": "c1", **changes}
    return EffectOrder(action=action, **fields)  # type: ignore[arg-type]


def _provider(
    tmp_path: Path,
    text: str = GOOD,
    runner: Callable[[Sequence[str], float], Ran] = run_program,
    session: str = "s1",
    cluster: str = "c1",
) -> CommandProvider:
    path = tmp_path / "providers.toml"
    path.write_text(text)
    return CommandProvider(
        read_config(path),
        runner,
        cluster=cluster,
        session=lambda: session,
        memory=Effects(tmp_path / "effects.jsonl"),
    )


def test_it_serves_exactly_what_its_config_names(tmp_path: Path) -> None:
    text = GOOD + '[commands.terminate]\nargv = ["/bin/true", "{node}"]\n'
    provider = _provider(tmp_path, text)
    assert provider.serves == {"node.restart"}
    assert provider.terminates
    with pytest.raises(EffectFailed, match=r"no command for node\.cordon"):
        provider.execute(_order(NodeCordon(node="a", incarnation="b")))


def test_the_program_gets_the_inventorys_words_as_single_arguments(tmp_path: Path) -> None:
    seen: list[Sequence[str]] = []

    def runner(argv: Sequence[str], _: float) -> Ran:
        seen.append(argv)
        return Ran(0, "fine")

    receipt = _provider(tmp_path, runner=runner).execute(_order())
    assert seen == [("/bin/echo", "gpu-07", "--key=k1", "5")]
    assert "fine" in receipt.text


@pytest.mark.parametrize(
    "incarnation", ["--force", "a b", "$(reboot)", "a;b", "../../x", "", "a\nb"], ids=repr
)
def test_a_value_that_is_not_one_plain_word_never_reaches_the_program(
    tmp_path: Path, incarnation: str
) -> None:
    text = GOOD.replace("{node}", "{incarnation}")
    provider = _provider(tmp_path, text, runner=lambda *_: pytest.fail("it ran"))
    with pytest.raises(EffectFailed, match="not a plain name"):
        provider.execute(_order(NodeRestart(node="a", incarnation=incarnation)))


@pytest.mark.parametrize(
    ("program", "error"),
    [
        (["/bin/false"], EffectFailed),
        (["/nowhere/at/all"], EffectFailed),
        (["/bin/sh", "-c", "exit 75"], EffectInDoubt),
        (["/bin/sleep", "30"], EffectInDoubt),
    ],
    ids=["exit 1: nothing happened", "not found", "named as in doubt", "too slow: in doubt"],
)
def test_exit_codes_and_timeouts_are_told_apart(
    tmp_path: Path, program: list[str], error: type[Exception]
) -> None:
    argv = ", ".join(f'"{word}"' for word in program)
    head = '[commands."node.restart"]\n'
    text = f"{head}argv = [{argv}]\ntimeout_s = 0.5\nin_doubt = [75]\n"
    with pytest.raises(error):
        _provider(tmp_path, text).execute(_order())


def test_s6_keys_act_once_and_lower_tokens_are_refused_also_after_a_new_start(
    tmp_path: Path,
) -> None:
    ran: list[Sequence[str]] = []

    def runner(argv: Sequence[str], _: float) -> Ran:
        ran.append(argv)
        return Ran(0, "")

    _provider(tmp_path, runner=runner).execute(_order())
    again = _provider(tmp_path, runner=runner)
    assert "already done" in again.execute(_order()).text
    with pytest.raises(LeaseLost):
        again.execute(_order(key="k2", token=4))
    again.execute(_order(key="k3", token=6))
    assert len(ran) == 2


def test_an_effect_that_never_told_how_it_ended_stays_in_doubt(tmp_path: Path) -> None:
    def dies(_: Sequence[str], __: float) -> Ran:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _provider(tmp_path, runner=dies).execute(_order())
    with pytest.raises(EffectInDoubt, match="never told"):
        _provider(tmp_path, runner=lambda *_: pytest.fail("it ran again")).execute(_order())


@pytest.mark.parametrize("change", [{"cluster": "c2"}, {"session": "s0"}], ids=repr)
def test_s29_orders_for_another_cluster_or_session_run_nothing(
    tmp_path: Path, change: dict[str, str]
) -> None:
    provider = _provider(tmp_path, runner=lambda *_: pytest.fail("it ran"))
    with pytest.raises(EffectFailed):
        provider.execute(_order(**change))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("commands = 3", "not a valid providers file"),
        ('[commands."node.explode"]\nargv = ["/bin/true"]', "no such action"),
        ('[commands."node.restart"]\nargv = ["restart"]', "absolute path"),
        ('[commands."node.restart"]\nargv = ["/bin/x", "{pool}"]', "{pool} is not known"),
        ('[commands."node.restart"]\nargv = ["/bin/x", "{note}"]', "{note} is not known"),
        ('[commands."node.restart"]\nargv = ["/bin/x", "{node"]', "unmatched brace"),
        ('[commands."node.restart"]\nargv = ["/bin/x"]\nshell = true', "shell"),
        ('[commands."node.restart"]\nargv = ["/bin/x"]\ntimeout_s = 0', "timeout_s"),
        ('[commands."notify.page"]\nargv = ["/bin/x"]', "no such action"),
    ],
)
def test_a_wrong_config_is_refused_with_what_is_wrong(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "providers.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_config(path)
    assert says in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_pools_command_gets_pool_and_count(tmp_path: Path) -> None:
    text = '[commands."pool.scale"]\nargv = ["/bin/echo", "{pool}", "{add}"]\n'
    receipt = _provider(tmp_path, text).execute(_order(PoolScale(pool="train", add=2)))
    assert "train 2" in receipt.text


# --- a raylet of plain `ray start` ---------------------------------------------------------------

START_WORKER = """#!/bin/sh
# What a site might write: start the raylet of one node again.
[ "$1" = gpu-07 ] || exit 3
exec 9>&-
setsid {env} {ray} start --address={address} --node-ip-address=127.0.0.2 --num-gpus=2 \\
  --num-cpus=2 --object-store-memory=80000000 --disable-usage-stats --block \\
  --labels=watchkeeper.io/node=gpu-07,watchkeeper.io/pool=gpu >>{log} 2>&1 </dev/null &
"""


@dataclass
class PlainRay:
    """A cluster of plain `ray start`: a head, and a script that starts one worker."""

    address: str
    script: Path
    env: dict[str, str]


@pytest.fixture
def plain_ray(tmp_path: Path) -> Iterator[PlainRay]:
    import tempfile

    ray = str(Path(sys.executable).with_name("ray"))
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="wkp-", dir="/tmp") as short:
        settings = {k: v for k, v in ENVIRONMENT.items() if k not in LOOPBACK_ENVIRONMENT}
        settings["RAY_TMPDIR"] = short
        env = {**os.environ, **settings}
        env.pop("RAY_ADDRESS", None)
        log = tmp_path / "ray.log"
        with log.open("ab") as out:
            head = subprocess.Popen(
                [
                    *(ray, "start", "--head", "--block", f"--port={port}"),
                    *("--node-ip-address=127.0.0.2", "--num-cpus=2", "--num-gpus=0"),
                    *("--include-dashboard=false", "--disable-usage-stats"),
                    *(
                        f"--dashboard-agent-listen-port={free_port()}",
                        f"--ray-client-server-port={free_port()}",
                    ),
                    "--object-store-memory=80000000",
                ],
                env=env,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        script = tmp_path / "start-worker"
        words = " ".join(f"{key}={value}" for key, value in settings.items())
        address = f"127.0.0.2:{port}"  # Ray would replace 127.0.0.1 by an outer address
        script.write_text(
            START_WORKER.format(env=f"env {words}", ray=ray, address=address, log=f"{log}.worker")
        )
        script.chmod(0o755)
        yield PlainRay(address, script, env)
        for mark in (short, f"--address={address}", f"--port={port}"):
            for process in psutil.process_iter(["cmdline"]):
                if mark in " ".join(process.info["cmdline"] or []):
                    process.kill()
        head.wait(10)
        assert descendants_gone([], [short], within_s=10) == []


@pytest.mark.ray
def test_a_script_brings_back_a_raylet_of_plain_ray_start_and_a_lost_gcs_is_survived(
    tmp_path: Path, plain_ray: PlainRay
) -> None:
    cluster = RayCluster(
        plain_ray.address,
        world=World.REAL,
        cluster="real-1",
        job_api=None,
        progress_root=None,
        clock=SystemClock(),
    )

    def until(state: RayState, but: str = "") -> str:
        end = time.monotonic() + 90
        while time.monotonic() < end:
            try:
                node = cluster.read().nodes.get("gpu-07")
            except ClusterUnavailable:
                node = None
            if node and node.ray_state is state and node.incarnation != but:
                return node.incarnation
            time.sleep(0.1)
        raise AssertionError(
            f"gpu-07 never {state}: {(tmp_path / 'ray.log.worker').read_text()[-1500:]}"
        )

    end = time.monotonic() + 90
    while True:
        try:
            session = cluster.read().session
            break
        except ClusterUnavailable:
            assert time.monotonic() < end, (tmp_path / "ray.log").read_text()[-1500:]
            time.sleep(0.2)
    subprocess.run([str(plain_ray.script), "gpu-07"], check=True)
    first = until(RayState.ALIVE)
    raylets = [
        p
        for p in psutil.process_iter(["cmdline"])
        if "watchkeeper.io/node" in " ".join(p.info["cmdline"] or [])
        and plain_ray.address in " ".join(p.info["cmdline"] or [])
        and "raylet/raylet" in (p.info["cmdline"] or [""])[0]
    ]
    assert len(raylets) == 1
    raylets[0].send_signal(signal.SIGKILL)
    until(RayState.DEAD)

    config = f'[commands."node.restart"]\nargv = ["{plain_ray.script}", "{{node}}"]\n'
    provider = _provider(tmp_path, config, cluster="real-1", session=session)
    order = _order(NodeRestart(node="gpu-07", incarnation=first), session=session, cluster="real-1")
    provider.execute(order)
    second = until(RayState.ALIVE, but=first)
    assert second != first
    assert cluster.read().nodes["gpu-07"].process_gone is None

    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or [""]
        if "gcs_server" in line[0] and f"--gcs_server_port={plain_ray.address[10:]}" in line:
            process.kill()
    deadline = time.monotonic() + 10
    while True:
        begun = time.monotonic()
        try:
            cluster.read()
        except ClusterUnavailable as err:
            assert time.monotonic() - begun < 3
            told = str(err)
            break
        assert time.monotonic() < deadline
    assert plain_ray.address in told
    drain = NodeDrain(node="gpu-07", incarnation=second)
    with pytest.raises(EffectFailed, match="no command for terminate"):
        provider.enforce(_order(drain, session=session, cluster="real-1"))
