"""What a finished run left in its folder, against what is asked for now."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from antidote.engine.records import Record


def lacks(record: Record, settings: Mapping[str, Any]) -> bool:
    """Whether a finished run did not leave what is asked for now; pictures can be drawn later.

    A folder may by now be another run's.
    """
    if settings.get("ceiling") and not record.get("ceiling"):
        return True
    wanted = ["victim.safetensors", "unlearned.safetensors"] * settings["save_models"]
    wanted += ["samples.npz"] * settings["pictures"]
    folder = Path(record["folder"])
    if not all((folder / name).exists() for name in wanted):
        return True
    return bool(wanted) and left_by(folder) != record["id"]


def left_by(folder: Path) -> str | None:
    """Which cell's run wrote last into a folder."""
    try:
        return json.loads((folder / "result.json").read_text())["id"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
