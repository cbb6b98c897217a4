"""Files of ours are read, written and named in ``engine.artifacts`` alone."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

import engine
from engine.artifacts import (
    champion,
    classifier_fit,
    report_json,
    review,
    run_stages,
    study_json,
    synthesized,
    tune_json,
)
from engine.artifacts.catalogue import ARRAYS, RECORDS, TABLES

ROOT: Final = Path(engine.__file__).parent.parent
SEARCHED: Final = ("engine", "experiments")
"""Folders that the rule holds in."""
ALLOWED: Final[Mapping[str, str]] = {
    "engine/data/readers": "the user's own data",
    "engine/store/files.py": "JSON that commands write for people",
    "engine/store/leases.py": "who holds a run in an object store",
    "engine/store/local_copy.py": "what a local copy is a copy of",
    "engine/store/stored_run.py": "what was the same here and in the store",
    "engine/commands/classified_rows.py": "tables that commands write for people",
    "engine/commands/image_table.py": "tables that commands write for people",
    "engine/parts/kept_map.py": "what a map that was interrupted has made",
    "engine/tuning/journal.py": "the sweep's journal, whose lines are its own",
    "engine/tuning/ray_tune.py": "settings that travel to Ray's workers as text",
    "engine/tracking": "ids and calls that a tracking server is sent",
    "engine/execution/progress_file.py": "how far a worker is",
    "engine/review/exchange.py": "what the page sends",
    "engine/classifier/model.py": "a model's description, in the header of its weights",
    "engine/diffusion/dcgan.py": "a generator's description, in the header of its weights",
    "engine/diffusion/keep_best.py": "the state of a training",
    "engine/retrieval/clip.py": "model folders that others made",
    "engine/training/checkpoints.py": "the state of a training, in the header of its weights",
    "engine/training/set_aside.py": "the checksum of a file that a killed training left",
    "engine/config/safe_weights.py": "model folders that others made",
    "engine/config/pretrained_parts.py": "model folders that others made",
    "experiments/audit_lesions.py": "its own search, kept to be counted anew",
    "experiments/lib/untimed.py": "reports of runs, compared as they are",
    "experiments/lib/faulted_run.py": "what a run notes of itself for the experiment",
    "experiments/lib/lost_node.py": "what an attempt notes of where it runs",
    "experiments/lib/keeping.py": "results, and notes of measurements under way",
    "experiments/lib/parted.py": "results: the arms of one replicate",
    "experiments/table1/set_files.py": "results: the kept cells of one training set",
}
"""Files that read or write what is no artifact, with what that is."""
READS: Final = re.compile(
    r"\b(read_parquet|to_parquet|read_json|json\.loads?|parse_json|np\.load|np\.save|pq\.(read|write)_table)\("
)
NAMES: Final = frozenset(
    {schema.file for schema in (*TABLES, *ARRAYS)}
    | {record.FILE for record in RECORDS}
    | {run_stages.ROLES, run_stages.LOG, review.FILE, classifier_fit.WEIGHTS, tune_json.BEST, study_json.PAGE}
    | {champion.FILE, report_json.FILE, synthesized.STATES, "report.html", "journal.jsonl", "mlflow.json"}
)
"""Names of files that no other module spells."""


def modules(folders: tuple[str, ...] = SEARCHED, root: Path = ROOT) -> Iterator[tuple[str, str]]:
    """Yield (path, text) of every module that has to keep to the rule."""
    for path in sorted(path for folder in folders for path in (root / folder).rglob("*.py")):
        name = path.relative_to(root).as_posix()
        if not within(name, ("engine/artifacts", *ALLOWED)):
            yield name, path.read_text(encoding="utf-8")


def within(name: str, places: tuple[str, ...]) -> bool:
    return any(name == place or name.startswith(f"{place}/") for place in places)


def by_hand(name: str, text: str) -> list[str]:
    """Return ``file:line`` of each place that reads, writes or names a file of ours."""
    lines = {n: line.strip() for n, line in enumerate(text.splitlines(), start=1) if READS.search(line)}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and node.value in NAMES:
            lines[node.lineno] = f"names {node.value}"
    return [f"{name}:{number}: {what}" for number, what in sorted(lines.items())]


def test_artifacts_are_the_only_door() -> None:
    found = [place for name, text in modules() for place in by_hand(name, text)]
    assert found == [], "read, write and name files through engine.artifacts:\n" + "\n".join(found)


def test_every_exception_is_needed() -> None:
    for place in ALLOWED:
        path = ROOT / place
        paths = sorted(path.rglob("*.py")) if path.is_dir() else [path]
        assert any(by_hand(p.name, p.read_text(encoding="utf-8")) for p in paths), (
            f"{place} keeps to the rule"
        )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            'frame = pd.read_parquet(folder / "x")["dx"]',
            'm.py:2: frame = pd.read_parquet(folder / "x")["dx"]',
        ),
        ("facts = json.loads(text)", "m.py:2: facts = json.loads(text)"),
        ('path = run / "split.parquet"', "m.py:2: names split.parquet"),
    ],
)
def test_what_is_found(line: str, said: str) -> None:
    assert by_hand("m.py", f"\n{line}\n") == [said]


def test_what_is_not_found() -> None:
    assert by_hand("m.py", '"""Writes split.parquet."""\ntext = json.dumps(facts)\n') == []
