"""The pictures of a run, drawn from its folder alone, whenever somebody wants them."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from antidote.engine.disk import write
from antidote.report.run.figures import per_class, samples, search_path

log = logging.getLogger(__name__)


def draw(folder: str | Path) -> list[Path]:
    """samples.png, per_class.png, after a search ptn_path.png; the paths of those that were drawn.

    What a picture needs and the folder lacks costs that picture, never an error.
    """
    folder = Path(folder)
    record = read(folder / "result.json")
    wanted: dict[str, Callable[[], Figure | None]] = {
        "samples.png": lambda: samples(folder / "samples.npz", record),
        "per_class.png": lambda: per_class(record),
        "ptn_path.png": lambda: search_path(record),
    }
    made = [picture(folder / name, figure) for name, figure in wanted.items()]
    return [path for path in made if path is not None]


def read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        log.warning("%s cannot be read (%s): nothing is drawn", path, error)
        return {}


def picture(path: Path, figure: Callable[[], Figure | None]) -> Path | None:
    try:
        with mpl.rc_context({"text.parse_math": False}):  # $ in a class's name is no formula
            drawn, buffer = figure(), io.BytesIO()
            if drawn is None:
                return None
            drawn.savefig(buffer, format="png", dpi=110, bbox_inches="tight", facecolor="white")
        return write(path, buffer.getvalue())
    except Exception as error:
        said = " ".join(str(error).split())
        log.warning("%s was not drawn: %s: %s", path.name, type(error).__name__, said)
        return None
