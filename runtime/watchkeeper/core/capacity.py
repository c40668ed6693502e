"""Answers about capacity, as command line, page and agents read them. Nothing in them acts."""

from watchkeeper.core.word import Word


class CapacityPlan(Word, frozen=True):
    """Nodes to take for one pool, by the hour from now on.

    service_level: share of the time in which the forecast demand must fit. have: nodes that are
    there. wanted: GPUs wanted at the service level, by hour. reserved: nodes for the whole time;
    on_demand, spot: by hour; burst: at the service level, by hour, taken only when needed. cost:
    expected, in `currency`. short: expected GPU-hours that fit nowhere. proved: by the solver, that
    no plan is shorter and none as short is cheaper. notes: what is left out, and why.
    """

    pool: str
    service_level: float
    hours: int
    have: int
    gpus_per_node: int
    forecast: str
    wanted: tuple[float, ...]
    reserved: int
    on_demand: tuple[int, ...]
    spot: tuple[int, ...]
    burst: tuple[int, ...]
    cost: float
    short: float
    currency: str
    prices: str
    method: str
    proved: bool
    notes: tuple[str, ...] = ()
    says: str = ""


class Price(Word, frozen=True):
    """What one kind of capacity would cost for a what-if; None, and why, where it cannot be had."""

    kind: str
    money: float | None
    why: str = ""


class WhatIf(Word, frozen=True):
    """What some nodes more (or fewer) would change in a span of hours from now on.

    short_before, short_after: expected GPU-hours that fit nowhere. full_before, full_after: hours
    in which demand at the service level does not fit. unused: expected GPU-hours of the added nodes
    that nobody wants. prices: by kind, cheapest first. hours: those of the span that are forecast.
    """

    pool: str
    add: int
    gpus_per_node: int
    have: int
    hours: int
    not_forecast: int
    service_level: float
    short_before: float
    short_after: float
    full_before: int
    full_after: int
    unused: float
    currency: str
    prices: tuple[Price, ...] = ()
    notes: tuple[str, ...] = ()
    says: str = ""


class FeedLoad(Word, frozen=True):
    """One power feed now. draw_w: of all GPUs on it; None while one of its nodes is silent. over_w:
    what must be shed to be below the share at which policy acts; 0 where nothing must."""

    feed: str
    limit_w: float
    draw_w: float | None
    over_w: float
    silent: tuple[str, ...] = ()
    simulated: bool = False


class PowerCap(Word, frozen=True):
    """One GPU to cap, in watts. draws_w: what it draws now. gang: whom it slows, "" for nobody."""

    node: str
    incarnation: str
    gpu: int
    watts: float
    draws_w: float
    gang: str = ""


class Shedding(Word, frozen=True):
    """Caps that bring one feed down, least harm first. enough: they shed all that must be."""

    load: FeedLoad
    caps: tuple[PowerCap, ...]
    sheds_w: float
    enough: bool
    says: str
