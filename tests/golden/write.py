"""``python -m tests.golden.write``: write the golden files anew, after a change of keys or outputs that is meant."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from tests.golden import cache_keys, outputs


def write(path: Path, value: Mapping[str, Any], indent: int = 0) -> None:
    """Write sorted JSON, one value per line."""
    text = json.dumps(value, indent=indent, sort_keys=True, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
    print(f"wrote {path.name}")


def main() -> None:
    """Write every golden file of this folder."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        keys = {name: cache_keys.keys_of(name, Path(folder)) for name in cache_keys.named()}
        write(cache_keys.FILE, keys)
    with tempfile.TemporaryDirectory() as folder:
        played = {name: outputs.play(name, Path(folder)) for name in outputs.RUNS}
        runs = {name: found for name, (found, _) in played.items()}
        write(outputs.FILE, {"machine": outputs.machine(), "runs": runs})
        write(outputs.REPORT, played["latents"][1], indent=1)


if __name__ == "__main__":
    main()
