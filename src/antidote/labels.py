"""Names for work by the settings that ask for it, so that a plan finds what is done or kept.

The cache's own keys say more, the data's bytes and the code among it, but only a run knows those.
A label is "<scale>-<hash>": work of one scale takes about the same time and space.
"""

from __future__ import annotations

import json
from typing import Any

from antidote.cache import name_of
from antidote.config import short_hash

Content = dict[str, Any]


def scale(content: Content, threads: int) -> str:
    """Of the data set, the net and the training, whatever the seed."""
    groups = [seedless(content[group]) for group in ("dataset", "model", "recipe", "trainer")]
    return short_hash([*groups, threads])


def seedless(settings: Any) -> Any:
    if not isinstance(settings, dict):
        return settings
    return {key: seedless(value) for key, value in settings.items() if key != "seed"}


def victim(content: Content, threads: int, clean: bool = False) -> str:
    """The victim of these settings, or the `clean` model that an attack may ask for."""
    asked = {"poison": None if clean else content["poison"]}
    for group in ("dataset", "model", "recipe", "trainer", "seed", "victim"):
        asked[group] = content[group]
    return f"{scale(content, threads)}-{short_hash([asked, threads])}"


def unlearning(content: Content, threads: int, parts: dict[str, Any]) -> str:
    """What a method does to that victim with what is discovered; `parts`: its own settings."""
    own = json.dumps(parts, sort_keys=True, default=name_of)
    whole = [victim(content, threads), content["discovery"], own]
    return f"{scale(content, threads)}-{short_hash(whole)}"
