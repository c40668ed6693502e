"""Rates beside what they are of, and what could still be true at 95 %.

Shares of counts: Clopper-Pearson, exact. Counts over exposure: exact Poisson. Means over seeds:
Student's t. scipy comes with scikit-learn and is imported only when asked.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

TAIL = 0.025


def share(count: int, of: int) -> dict[str, Any]:
    """count of `of`, with the two-sided 95 % Clopper-Pearson bound; rate None where `of` is 0.
    upper95: the one-sided bound, about 3 / of where count is 0 (the rule of three)."""
    if of == 0:
        return {"count": count, "of": 0, "rate": None, "low95": 0.0, "high95": 1.0, "upper95": 1.0}
    from scipy.stats import beta  # type: ignore[import-untyped]

    low = float(beta.ppf(TAIL, count, of - count + 1)) if count else 0.0
    high = float(beta.ppf(1 - TAIL, count + 1, of - count)) if count < of else 1.0
    upper = float(beta.ppf(1 - 2 * TAIL, count + 1, of - count)) if count < of else 1.0
    return {
        "count": count,
        "of": of,
        "rate": count / of,
        "low95": low,
        "high95": high,
        "upper95": upper,
    }


def per(count: int, exposure: float, unit: str) -> dict[str, Any]:
    """Events per unit of exposure, with the two-sided exact 95 % bound of a Poisson count."""
    from scipy.stats import chi2

    if exposure <= 0:
        return {"count": count, "of": 0.0, "unit": unit, "rate": None}
    low = float(chi2.ppf(TAIL, 2 * count)) / 2 if count else 0.0
    high = float(chi2.ppf(1 - TAIL, 2 * count + 2)) / 2
    return {
        "count": count,
        "of": exposure,
        "unit": unit,
        "rate": count / exposure,
        "low95": low / exposure,
        "high95": high / exposure,
        "upper95": float(chi2.ppf(1 - 2 * TAIL, 2 * count + 2)) / 2 / exposure,
    }


def mean(values: Sequence[float]) -> dict[str, Any]:
    """Mean over seeds with its 95 % bound (Student's t); no bound from a single seed."""
    middle = statistics.fmean(values)
    if len(values) < 2:
        return {"mean": middle, "low95": None, "high95": None, "seeds": len(values)}
    from scipy.stats import t

    half = float(t.ppf(1 - TAIL, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5
    return {
        "mean": middle,
        "low95": middle - half,
        "high95": middle + half,
        "seeds": len(values),
    }
