"""The console's name for `core.tame`: what pages and reports draw passes there."""

from watchkeeper.core.tame import tame, tame_lines

__all__ = ["tame", "tame_lines"]
