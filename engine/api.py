"""hardcase as a library: play a config, open a finished run, apply its classifier, make images, compare runs.

    from engine import api

    run = api.run("config.yaml", "loop.rounds=1")
    print(run.answer)
    sensitivity = run.figures().query("figure == 'malignant.sensitivity'")

What stands in ``__all__`` keeps its names and its meaning within a major version. Every error that a user can mend is a
``ConfigError`` or ``DataError`` (``engine.errors``) whose text names the remedy, as on the command line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pandas as pd

from engine.artifacts import hard_cases, predictions, report_json, synthetic
from engine.artifacts.report_json import Part, RunReport
from engine.artifacts.run_layout import RunLayout, main_arm
from engine.checked_config import load
from engine.commands.stored_runs import here
from engine.errors import DataError
from engine.execution.console import quiet_console

if TYPE_CHECKING:
    from engine.config import Config

__all__ = ["Run", "compare", "open_run", "predict", "run", "synthesize"]


@dataclass(frozen=True)
class Run:
    """A run folder that has finished a round or more. Tables are read anew at every call and are the caller's own."""

    path: Path

    @property
    def config(self) -> Config:
        """The config that the run was made by."""
        from engine import build

        return build.open_run(self.path).config

    @property
    def report(self) -> RunReport:
        """report.json as a record."""
        return report_json.read(self.path)

    @property
    def finished(self) -> bool:
        """Whether the run has ended by itself; ``run`` with the same config goes on with one that has not."""
        return self.report.finished

    @property
    def protocol(self) -> str:
        """``safe``, ``leaky`` (hard cases were mined from test), ``leaky_by_duplicates`` or ``groups_unknown``."""
        return self.report.protocol

    @property
    def answer(self) -> str:
        """Did hard cases help? One sentence, ending in helped, hurt or not shown; one run alone shows nothing."""
        from engine.report.blocks.evidence import run_answer

        return run_answer(self.path).sentence

    @property
    def champion(self) -> tuple[int, str]:
        """The round and the arm that val puts first (DataError: nobody is crowned yet)."""
        from engine import build

        champion = build.open_run(self.path).champion()
        return champion.round, champion.arm

    def figures(self, part: Part = "test") -> pd.DataFrame:
        """Return every figure of every (round, arm): columns round, arm, figure, value, low, high.

        ``figure`` is the dotted name of report.json, such as ``malignant.auc`` or ``per_class.mel.sensitivity``. ``low`` and
        ``high`` are the ends of the 95 % interval. Undefined is NaN.

        Raises:
            DataError: ``part`` is neither val nor test.
        """
        if part not in get_args(Part):
            raise DataError(f"part: {part!r} is not scored; choose from {', '.join(get_args(Part))}")
        rows = [
            {"round": entry.round, "arm": entry.arm, "figure": name, **vars(figure)}
            for entry in self.report.rounds
            for name, figure in report_json.figures_in(entry.metrics(part))
        ]
        table = pd.DataFrame(rows, columns=["round", "arm", "figure", "value", "low", "high"])
        return table.astype({"value": float, "low": float, "high": float})

    def hard_cases(self, round: int) -> pd.DataFrame:
        """Return the hard cases that a round mined, hardest first (DataError: it has none)."""
        return hard_cases.read_frame(self._round(round, hard_cases.SCHEMA.present))

    def synthetic_images(self, round: int) -> pd.DataFrame:
        """Return the images of arm hard in a round, rejected ones too; ``path`` is the picture (DataError: it has none)."""
        folder = self._round(round, synthetic.SCHEMA.present)
        frame = synthetic.read_frame(folder)
        return frame.assign(path=[str(folder / synthetic.picture(name)) for name in frame["sample_id"]])

    def predictions(self, round: int, arm: str | None = None) -> pd.DataFrame:
        """Return an arm's calibrated probabilities: image_id, split, dx, p_<class>; default: hard, in round 0 real.

        Raises:
            DataError: the run has no such (round, arm).
        """
        arm = arm or main_arm(round)
        if (round, arm) not in self._layout.published_arms():
            raise DataError(f"{self.path}: has no round {round} {arm}; it has {self._there()}")
        return predictions.frame_of(predictions.read(self._layout.arm_folder(round, arm)))

    @property
    def _layout(self) -> RunLayout:
        return RunLayout(self.path)

    def _there(self) -> str:
        return ", ".join(f"{number} {arm}" for number, arm in self._layout.published_arms()) or "none"

    def _round(self, number: int, present: Any) -> Path:
        folder = self._layout.round_folder(number)
        if not present(folder):
            raise DataError(
                f"{self.path}: round {number} mined nothing; finished rounds and arms: {self._there()}"
            )
        return folder


def run(config: str | Path, *overrides: str, fresh: bool = False) -> Run:
    """Play the loop of a config file, or go on with it; nothing is printed.

    Args:
        config: a YAML file, for example from ``hardcase init``.
        overrides: ``key=value``, as on the command line.
        fresh: compute every stage anew.

    Raises:
        ConfigError, DataError: bad input; nothing computed is lost.
        StageError: a stage could not finish; the same call goes on.
    """
    from engine import build

    folder, _ = build.run(load(Path(config), overrides), fresh=fresh)
    return Run(folder.path)


def open_run(path: str | Path) -> Run:
    """Open a run folder, ``<output>/<name>`` (DataError: it is none, or has not finished a round)."""
    from engine import build

    found = Run(build.open_run(here(path)).path)
    report_json.read(found.path)
    return found


def predict(
    run: Run | str | Path,
    images: str | Path | Sequence[str | Path],
    *,
    round: int | None = None,
    arm: str | None = None,
    skip_bad: bool = False,
) -> pd.DataFrame:
    """Apply a run's classifier to photographs; research software, never for decisions about a patient.

    Args:
        run: the run, or its folder.
        images: image files, or folders of them.
        round: round of the classifier; default: the champion's.
        arm: arm of the classifier; default: the champion's.
        skip_bad: leave out images that cannot be read.

    Returns:
        One row per image: image_id, file, p_<class>, predicted, malignant_score, above_threshold.

    Raises:
        DataError: no such classifier, no image, or images that cannot be read without ``skip_bad``.
    """
    from engine.commands.predict_command import predicted

    given = [images] if isinstance(images, str | Path) else images
    frame, _ = predicted(
        _path(run), [Path(p) for p in given], quiet_console(), round_number=round, arm=arm, skip_bad=skip_bad
    )
    return frame


def synthesize(run: Run | str | Path, dx: str, count: int, out: str | Path, *, seed: int = 0) -> pd.DataFrame:
    """Make ``count`` images of class ``dx`` with a run's generator, into the new folder ``out``.

    Returns:
        One row per image: its file, parent, neighbours, seed, and what judge and gates say of it.

    Raises:
        DataError: an unfinished foundation, an unknown class, or ``out`` is not empty.
    """
    from engine.commands.synthesize_command import synthesize as command

    return command(_path(run), dx, count, Path(out), quiet_console(), seed=seed)


def compare(
    runs: Sequence[Run | str | Path], *, round: int | None = None, arm: str | None = None, draws: int = 1000
) -> pd.DataFrame:
    """Return paired differences on test between the champions of runs (or their ``round`` and ``arm``).

    Both are scored on the same draws of lesions. These intervals know nothing of what another training set would have done:
    only ``hardcase report RUN RUN ...`` over several training sets supports a claim.

    Returns:
        One row per pair and figure: first, second, figure, value (second minus first), low, high, test_lesions.

    Raises:
        DataError: fewer than two runs, or runs that stand on different splits.
    """
    from engine.commands.compare_command import open_compared
    from engine.commands.paired_differences import paired_differences

    if len(runs) < 2:
        raise DataError("compare: give two runs or more")
    opened = [open_compared(_path(one), round, arm) for one in runs]
    rows = []
    for first, second in combinations(opened, 2):
        if first.split_digest != second.split_digest:
            raise DataError(
                f"{first.label} and {second.label} stand on different splits, so on other test lesions; "
                "give runs of one split"
            )
        found = paired_differences(first.chosen, second.chosen, draws=draws, seed=0)
        rows += [
            {
                "first": first.label,
                "second": second.label,
                "figure": name,
                **difference,
                "test_lesions": lesions,
            }
            for name, (difference, lesions) in found.items()
        ]
    return pd.DataFrame(rows)


def _path(run: Run | str | Path) -> Path:
    return run.path if isinstance(run, Run) else here(run)
