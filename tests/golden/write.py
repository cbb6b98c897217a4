"""``python -m tests.golden.write``: write the golden files anew, after a change of keys that is meant."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.golden import cache_keys


def write(path: Path, value: Mapping[str, Any]) -> None:
    """Write sorted JSON, one value per line."""
    path.write_text(json.dumps(value, indent=0, sort_keys=True) + "\n", encoding="utf-8")


def main() -> None:
    """Write every golden file of this folder."""
    with tempfile.TemporaryDirectory() as folder:
        keys = {name: cache_keys.keys_of(name, Path(folder)) for name in cache_keys.named()}
        write(cache_keys.FILE, keys)
        print(f"{cache_keys.FILE.name}: {len(keys)} configs")


if __name__ == "__main__":
    main()
