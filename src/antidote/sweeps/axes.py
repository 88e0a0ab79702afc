"""What differs between the jobs of a sweep, as it was typed."""

from __future__ import annotations

from collections.abc import Sequence


def axes(jobs: Sequence[Sequence[str]]) -> dict[str, list[str]]:
    """{key: its values} of the overrides that are not the same in all jobs, in their order."""
    typed = [dict(map(parted, job)) for job in jobs]
    found = {key: dict.fromkeys(t.get(key) for t in typed) for t in typed for key in t}
    return {key: [v or "" for v in values] for key, values in found.items() if len(values) > 1}


def parted(override: str) -> tuple[str, str]:
    """An override's key and value; ~key has none."""
    key, _, value = override.partition("=")
    if value[:1] == value[-1:] == "'":  # Hydra's quotes: poison_rate='0.03'
        value = value[1:-1]
    return key, value
