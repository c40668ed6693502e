"""What a driver's line says beyond its code, as one number. Asked by collectors and by `diagnose`.

Xid 154 names a recovery in words; the NVLink5 codes (144 to 150) carry a status word; an SXid says
whether it is fatal. Each is read by a fixed table; whatever is in no table is None, which no
ladder acts on. The text itself goes no further.
"""

from __future__ import annotations

import re

from watchkeeper.core.fault import Recovery
from watchkeeper.health.kernel_lines import KernelEvent, XidEvent

NON_FATAL = 0.0
"""`Signal.value` of an SXid whose line says that it is not fatal."""
FATAL = 1.0

LINK_IGNORE, LINK_RESET, LINK_WAIT = 0.0, 1.0, 2.0
"""`Signal.value` of Xid 144 to 150: no act, the GPU wants a reset, wait for Xid 154."""

_RECOVERY = re.compile(
    r"\bto 0x([0-9a-f]{1,8})\s*\(([A-Za-z0-9 ]{1,40})\)\s*\.?\s*$", re.IGNORECASE | re.ASCII
)
_WORDS = {
    "none": Recovery.NONE,
    "gpu reset": Recovery.GPU_RESET,
    "gpu reset required": Recovery.GPU_RESET,
    "pf flr": Recovery.GPU_RESET,  # branch 610 names the kind of reset: function level
    "node reboot": Recovery.NODE_REBOOT,
    "node reboot required": Recovery.NODE_REBOOT,
    "os reboot": Recovery.NODE_REBOOT,  # the same in branch 610
    "drain p2p": Recovery.DRAIN_P2P,
    "drain and reset": Recovery.DRAIN_AND_RESET,
}
_STATUS = re.compile(
    r"\((0x[0-9a-f]{1,8})[ ,]+(0x[0-9a-f]{1,8})(?:[ ,]+0x[0-9a-f]{1,8}){0,8}\)",
    re.IGNORECASE | re.ASCII,
)
_RESETS = {144: 0x12, 145: 0xC0, 146: 0x04}
"""Status bits that ask for a reset of the GPU (derived from the catalogue)."""
_WAITS = {145: 0x3F}
"""Status bits whose answer comes with Xid 154."""


def value_of(event: KernelEvent) -> float | None:
    """`Signal.value` for this event; None where the code says all, or the text is unknown."""
    if not isinstance(event, XidEvent):
        return None if event.fatal is None else (FATAL if event.fatal else NON_FATAL)
    if event.code == 154:
        recovery = recovery_named(event.text)
        return None if recovery is None else float(recovery)
    if 144 <= event.code <= 150:
        return nvlink5(event.code, event.text)
    return None


def recovery_named(text: str) -> Recovery | None:
    """The action of `GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)`.
    None when number and words are not the same row of the table."""
    found = _RECOVERY.search(text)
    if found is None:
        return None
    named = _WORDS.get(" ".join(found[2].lower().split()))
    return named if named is not None and named == int(found[1], 16) else None


def nvlink5(code: int, text: str) -> float | None:
    """LINK_IGNORE, LINK_RESET or LINK_WAIT for Xid 144 to 150; None when it cannot be told.

    The second word in brackets is the status. A driver older than R575 lays the words out
    otherwise; a status bit that no table knows is therefore None, not harmless.
    """
    match code:
        case 147 | 148:
            return LINK_IGNORE
        case 149:
            if re.search(r"\bnon-?fatal\b", text, re.IGNORECASE):
                return LINK_IGNORE
            return LINK_RESET if re.search(r"\bfatal\b", text, re.IGNORECASE) else None
        case 150:
            return LINK_WAIT
    found = _STATUS.search(text)
    if found is None:
        return None
    status = int(found[2], 16)
    if status & _RESETS.get(code, 0):
        return LINK_RESET
    if status & _WAITS.get(code, 0):
        return LINK_WAIT
    known = code in (144, 146)  # of these the catalogue says: all other bits, ignore
    return LINK_IGNORE if known else None
