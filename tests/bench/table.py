"""How figures are printed."""

from __future__ import annotations


def row(what: str, aim: str, value: str) -> None:
    print(f"{what:<58} {aim:<28} {value}", flush=True)


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]
