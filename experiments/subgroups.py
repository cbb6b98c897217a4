"""Writes sensitivity and specificity by sex, age and site for both studies, from their kept probabilities.

usage: python -m experiments.subgroups        (HARDCASE_DATA: the folder that holds ham10000, for its metadata alone)

Reads results/table1/set_*.json and results/arms_full/fold_*.json, and writes subgroups.json and subgroups.md beside them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from engine.artifacts.whole_files import write_text
from engine.store.files import write_json
from engine.study.design import find_design
from engine.study.replicates import Replicate
from experiments import arms_full
from experiments.lib import keeping
from experiments.lib.keeping import data_root, provenance, script, this_command
from experiments.lib.study_beside import subgroups
from experiments.lib.study_tables import subgroup_lines
from experiments.table1 import studies

INTRODUCTION = """# By sex, age and site

Written by `python -m experiments.subgroups`. Test lesions, %, mean over replicates; operating point (90 % specificity) fixed
on all of val. Differences in points with the outer ends of the study's two 95 % intervals (lesions and training sets
resampled; t), unadjusted: {count} of them, of which one in twenty would exclude 0 by chance. Exploratory; nothing here says
that a classifier is fair.
"""


def main() -> None:
    """Write the subgroups of both studies."""
    form = argparse.RawDescriptionHelpFormatter
    argparse.ArgumentParser(description=__doc__, formatter_class=form).parse_args()
    columns = pd.read_csv(data_root("ham10000") / "HAM10000_metadata.csv", index_col="image_id")
    sets = {
        number: table
        for number, part, label, table in studies.tables(keeping.RESULTS / "table1")
        if (part, label) == ("confirm", studies.PRIMARY_TABLE)
    }
    done = studies.finished(sets)
    print(write(keeping.RESULTS / "table1", studies.replicates(done.values()), columns))
    files, _ = arms_full.finished(keeping.RESULTS / "arms_full")
    print(write(keeping.RESULTS / "arms_full", arms_full.replicates(files), columns))


def write(folder: Path, runs: Sequence[Replicate], columns: pd.DataFrame) -> Path:
    """Write one study's subgroups; return the table's path."""
    found = subgroups(runs, find_design(runs), columns)
    count = sum(len(groups) for groups in found.values()) * 2
    write_json(folder / "subgroups.json", {**provenance(this_command()), "subgroups": found})
    path = folder / "subgroups.md"
    write_text(path, INTRODUCTION.format(count=count) + "\n" + "\n".join(subgroup_lines(found)))
    return path


if __name__ == "__main__":
    script(main)
