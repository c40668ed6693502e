"""The simulated hardware of the lab: kernel lines, lost GPUs and load, as files per node.

Everything here is made up and labelled so: the collectors of the lab read these files and say
`simulated` in every sample. Raylets, jobs, checkpoints and repairs of the lab are real.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from watchkeeper.adapters.gang_progress import write_atomically

FIRST_BUS = 0x10
"""PCI bus of simulated GPU 0; GPU i sits on bus 0x10 + i."""

_FATAL = frozenset({79})
_TEXT = {
    13: "Graphics Exception: ESR 0x404600=0x80000002",
    31: "Ch 00000008, intr 00000000. MMU Fault: ENGINE GRAPHICS GPCCLIENT_T1_0 faulted",
    48: "DBE (Double Bit Error) ECC Error",
    63: "Row Remapper: New row marked for remapping, reset gpu to activate.",
    64: "Row Remapper: Error recording a row remapping",
    74: "NVLink: fatal error detected on link 0(0x0, 0x0, 0x10000, 0x0, 0x0, 0x0, 0x0)",
    79: "GPU has fallen off the bus.",
    94: "Contained: SM (0x1). RST: No, D-RST: No",
    95: "Uncontained: LTC TAG (0x2,0x0). RST: Yes, D-RST: No",
    119: "Timeout after 6s of waiting for RPC response from GPU0 GSP! Expected function 76",
}


def pci_bus(gpu: int) -> str:
    """The PCI address of a simulated GPU as the kernel writes it."""
    return f"0000:{FIRST_BUS + gpu:02x}:00"


def xid_line(gpu: int, code: int, uptime_s: float) -> str:
    """One kernel line in the driver's own form."""
    text = _TEXT.get(code, "Simulated fault")
    return (
        f"[{uptime_s:12.6f}] NVRM: Xid (PCI:{pci_bus(gpu)}): {code}, "
        f"pid='<unknown>', name=<unknown>, {text}\n"
    )


class LabSim:
    """The simulated hardware under one folder: `<root>/<node>/{kmsg,faults.json,load.json}`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def prepare(self, node: str) -> None:
        """Sound hardware for a node that starts, or starts anew: faults of before are gone."""
        folder = self.root / node
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "kmsg").touch()
        self._write(node, "faults.json", {"lost": []})
        if not (folder / "load.json").exists():
            self._write(node, "load.json", {"busy": []})

    def xid(self, node: str, gpu: int, code: int) -> str:
        """Let the driver report an XID; a fatal one also takes the GPU off the bus."""
        line = xid_line(gpu, code, time.monotonic())
        with (self.root / node / "kmsg").open("a") as file:
            file.write(line)
        if code in _FATAL:
            self._write(node, "faults.json", {"lost": sorted({*self.lost(node), gpu})})
        return line.strip()

    def lost(self, node: str) -> tuple[int, ...]:
        """Indexes of the GPUs that fell off this node's bus."""
        try:
            found = msgspec.json.decode(
                (self.root / node / "faults.json").read_bytes(), type=dict[str, tuple[int, ...]]
            )
        except (OSError, msgspec.MsgspecError):
            return ()
        return found.get("lost", ())

    def load(self, busy: Mapping[str, Iterable[int]], nodes: Iterable[str]) -> None:
        """Which simulated GPUs are at work, by node; the others idle."""
        for node in nodes:
            self._write(node, "load.json", {"busy": sorted(busy.get(node, ()))})

    def _write(self, node: str, name: str, value: object) -> None:
        path = self.root / node / name
        if path.parent.is_dir():
            write_atomically(path, msgspec.json.encode(value))
