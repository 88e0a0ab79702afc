"""Files that appear whole or not at all."""

from __future__ import annotations

from pathlib import Path


def write(path: Path, content: bytes | str) -> Path:
    """Under a temporary name first, so that a killed process leaves no half file."""
    half = path.with_name(path.name + ".half")
    half.write_bytes(content.encode() if isinstance(content, str) else content)
    return half.replace(path)
