"""Classes that settings name."""

from __future__ import annotations

import difflib
import re
from typing import Any

from antidote.core.checks import require
from antidote.core.data import Data

SHOWN = 12  # names in a sentence


def class_of(data: Data, value: Any, setting: str) -> int:
    """The number of the class that a setting's value names.

    A name comes first: 2 is the class called 2, whatever its number, and only where none is called
    so it is number 2, counted from 0. Raises `BadInput` where there is no such class.
    """
    text = str(value)
    if text in data.classes:
        return data.classes.index(text)
    K = data.num_classes
    number = int(text) if re.fullmatch("[0-9]{1,9}", text) else K
    names = [*data.classes[:SHOWN], *["..."] * (K > SHOWN)]
    close = difflib.get_close_matches(text, data.classes, n=3)
    hint = f"; did you mean {' or '.join(close)}?" if close else ""
    require(
        number < K,
        f"{setting}={value} does not exist: the data set has classes 0 to {K - 1}, called "
        f"{', '.join(names)}{hint}",
    )
    return number
