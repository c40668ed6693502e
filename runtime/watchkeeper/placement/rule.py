"""Which of the nodes that fit is best for one piece: the rule, in numpy, without hindsight.

Three costs, all in CPU so that they add up:
1. imbalance: how much farther the node's leftovers lie from the proportion that work comes in
   (balance.py): |free CPU - r x free GPU| after, less before. It counts more on large nodes, which
   are kept in shape for large work. While CPU is scarce, it counts also as a share of what is left
   there, since then the odd remainders are what is lost. For memory only a shortage counts;
2. crumbs: what would be left of the GPU that a slice goes to;
3. a tie goes to the node with the least free GPU.
Weights were chosen on development seeds 1 to 4; docs/placement.md has figures from other seeds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from watchkeeper.placement.balance import Balance
from watchkeeper.placement.fleet import Bools, Fleet, Ints
from watchkeeper.placement.words import WHOLE, Piece

CRUMBS, MEMORY, TIE, ODD = 3.0, 0.1, 0.02, 0.3
"""Weights of the slice's leftover, of a shortage of memory, of GPUs left free, and, while CPU is
scarce, of imbalance as a share of what is left."""

Floats = NDArray[np.float64]


def fitting(fleet: Fleet, piece: Piece, may: Bools) -> Ints:
    """Rows where the piece fits now, ascending. may: rows that may be used, bool[N]."""
    free = may & (fleet.cpu >= piece.cpu_milli)
    free &= fleet.memory >= piece.memory_mib
    if piece.is_slice:
        free &= fleet.widest >= piece.milli
    elif piece.gpus:
        free &= fleet.whole >= piece.gpus
    return np.flatnonzero(free)


def costs(fleet: Fleet, piece: Piece, rows: Ints, balance: Balance) -> Floats:
    """The cost of putting the piece on each of these rows, where it fits: f8[len(rows)]. Less is
    better; only differences mean anything."""
    cpu_per, memory_per, scarce = balance.per_gpu(fleet)
    milli, takes, cpu = fleet.milli[rows], piece.gpu_milli, fleet.cpu[rows]
    due = cpu_per * milli
    before = np.abs(cpu - due)
    after = np.abs(cpu - due + (cpu_per * takes - piece.cpu_milli))
    # The size of a node counts while CPU is ample; where it is scarce, every core counts alike.
    cost: Floats = (after - before) * fleet.size[rows] ** (1.0 - scarce)
    if scarce:
        left = cpu + due + 1.0
        odd = after / (left - (piece.cpu_milli + cpu_per * takes)) - before / left
        cost += (ODD * scarce * WHOLE * cpu_per) * odd
    if memory_per:
        short = memory_per * milli - fleet.memory[rows]
        then = short + (piece.memory_mib - memory_per * takes)
        cost += (MEMORY * cpu_per / memory_per) * (np.maximum(then, 0.0) - np.maximum(short, 0.0))
    if piece.is_slice:
        cost += (CRUMBS * cpu_per) * crumbs(fleet, piece, rows)
    cost += TIE * milli
    return cost


def crumbs(fleet: Fleet, piece: Piece, rows: Ints) -> Ints:
    """Thousandths left of the tightest GPU of each row that holds this slice."""
    free = fleet.slices[rows]
    left: Ints = np.where(free >= piece.milli, free, 2 * WHOLE).min(axis=1) - piece.milli
    return left


def slots(fleet: Fleet, piece: Piece, may: Bools) -> Ints:
    """How many such pieces each node holds at once: i8[N]; 0 where it may not go."""
    size = len(fleet)
    if piece.is_slice:
        held = (fleet.slices // piece.milli).sum(axis=1)
    elif piece.gpus:
        held = fleet.whole // piece.gpus
    else:
        held = np.full(size, np.iinfo(np.int32).max, np.int64)
    if piece.cpu_milli:
        held = np.minimum(held, fleet.cpu // piece.cpu_milli)
    if piece.memory_mib:
        held = np.minimum(held, fleet.memory // piece.memory_mib)
    return np.where(may, held, 0)
