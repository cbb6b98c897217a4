"""The work list of synthetic images that a person accepts or rejects: the ``review.csv`` files of policy ``reviewed``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from engine.artifacts import review, synthetic
from engine.artifacts.accept import AcceptFacts
from engine.artifacts.labels import now
from engine.artifacts.run_layout import ARMS, arm_role
from engine.errors import DataError
from engine.review.pace import seconds_left
from engine.review.photographs import Photographs
from engine.review.pictures import Photo, picture_key
from engine.review.work import Guess, Item, Last, OutdatedError, Task, guesses
from engine.store import RunFolder

CHOICES = ("accept", "reject")


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """One ``review.csv``, with what stage ``accept`` knows of its images by sample id."""

    path: Path
    samples: Mapping[str, Item]
    guess: Mapping[str, tuple[Guess, ...]]


@dataclass
class Judging:
    """The synthetic images of every sheet with open lines; an image has one verdict, whoever gives it first."""

    run: RunFolder
    photographs: Photographs
    show_guess: bool
    sheets: dict[Path, Sheet] = field(default_factory=dict)
    times: dict[str, list[str]] = field(default_factory=dict)
    """When each reader answered, since the server started: review.csv has no column for it."""
    order: dict[str, list[str]] = field(default_factory=dict)
    """Keys of each reader's verdicts since the server started, the latest last."""

    def __post_init__(self) -> None:
        self.refresh()

    def refresh(self) -> None:
        """Look for sheets with open lines (DataError: one is wrong, or its stage is gone)."""
        for number, source, path in self._files():
            if path not in self.sheets and any(not v for v, _ in review.read_reviewers(path).values()):
                self.sheets[path] = self._sheet(number, source, path)

    def task(self, reader: str) -> Task:
        """Return the first image without a verdict, and this reader's last one."""
        lines = self._lines()
        open_ = [key for key, (_, verdict, _) in lines.items() if not verdict]
        return Task(
            item=self._item(open_[0], lines) if open_ else None,
            last=self._last(reader, lines),
            done=len(lines) - len(open_),
            total=len(lines),
            seconds_left=seconds_left(self.times.get(reader, []), len(open_)),
        )

    def answer(self, reader: str, key: str, choice: str) -> None:
        """Write a verdict into its review.csv (OutdatedError: it has one, or ``choice`` is none)."""
        lines = self._lines()
        if choice not in CHOICES:
            raise OutdatedError(f"{choice!r} is no verdict; load the page again")
        if key not in lines or lines[key][1] or not self._write(key, lines, choice, reader):
            raise OutdatedError(
                "this image has a verdict already, perhaps from another reader; here is the next one"
            )
        self.order.setdefault(reader, []).append(key)
        self.times.setdefault(reader, []).append(now())

    def undo(self, reader: str, key: str) -> None:
        """Take the reader's last verdict back (OutdatedError: ``key`` is not its image)."""
        lines = self._lines()
        last = self._last(reader, lines)
        if last is None or last.key != key or not self._write(key, lines, "", reader):
            raise OutdatedError(
                "your last verdict is another one, perhaps from another window; look at it first"
            )
        if key in self.order.get(reader, []):
            self.order[reader].remove(key)

    def _files(self) -> Iterator[tuple[int, str, Path]]:
        """Yield (round, arm, file) of every review.csv, rounds in their order."""
        layout = self.run.layout
        for number in layout.round_numbers():
            arms = sorted(path.name for path in (layout.round_folder(number) / ARMS).glob("*"))
            for source in (layout.main_arm(number), *arms):
                path = layout.review(number, source)
                if path.is_file():
                    yield number, source, path

    def _sheet(self, number: int, source: str, path: Path) -> Sheet:
        """Read what is known of a sheet's images; their pictures lie with stage ``synthesize``."""
        folder = self.run.stage(arm_role(number, source, "accept")).path
        made = self.run.stage(arm_role(number, source, "synthesize")).path
        table, classes = synthetic.read(folder), AcceptFacts.read(folder).classes
        names = self.photographs.names
        samples, guess = {}, {}
        for row, sample in enumerate(table.samples.sample_id.tolist()):
            dx, parent = str(table.samples.label_S[row]), str(table.samples.parent_image_id[row])
            key = picture_key(str(path), sample)
            self.photographs.pictures.add(key, Photo(path=str(made / synthetic.picture(sample))))
            near = [str(name) for name in table.samples.neighbour_ids_SK[row] if name and name != parent]
            beside = self.photographs.beside([parent], "made from: ") + self.photographs.beside(near)
            prob = (
                {}
                if table.judge_prob_SC is None
                else dict(zip(classes, table.judge_prob_SC[row], strict=False))
            )
            guess[sample] = guesses(prob, names)
            samples[sample] = Item(
                key=key,
                shows=names[dx].name if dx in names else dx,
                nature=names[dx].nature if dx in names else "",
                beside=beside,
                guess=guess[sample] if self.show_guess else (),
            )
        return Sheet(path=path, samples=samples, guess=guess)

    def _lines(self) -> dict[str, tuple[tuple[Sheet, str], str, str]]:
        """Return {key: ((sheet, sample), verdict, reviewer)} of every line, as the files are now."""
        found = {}
        for path, sheet in self.sheets.items():
            for sample, (verdict, reviewer) in review.read_reviewers(path).items():
                if sample not in sheet.samples:
                    raise DataError(f"{path}: {sample!r} is none of this round's images; delete the line")
                found[sheet.samples[sample].key] = ((sheet, sample), verdict, reviewer)
        return found

    def _write(
        self, key: str, lines: Mapping[str, tuple[tuple[Sheet, str], str, str]], verdict: str, reader: str
    ) -> bool:
        sheet, sample = lines[key][0]
        return review.write_verdict(sheet.path, sample, verdict, reader)

    def _item(self, key: str, lines: Mapping[str, tuple[tuple[Sheet, str], str, str]]) -> Item:
        sheet, sample = lines[key][0]
        return sheet.samples[sample]

    def _last(self, reader: str, lines: Mapping[str, tuple[tuple[Sheet, str], str, str]]) -> Last | None:
        """Return this reader's latest verdict: of this start by time, else the last line that bears the name."""
        mine = [key for key, (_, verdict, reviewer) in lines.items() if verdict and reviewer == reader]
        recent = [key for key in self.order.get(reader, []) if key in mine]
        if not mine:
            return None
        key = (recent or mine)[-1]
        (sheet, sample), verdict, _ = lines[key]
        return Last(key=key, said=f"{verdict}ed", guess=sheet.guess[sample])
