"""From the labels a data set has to classes for `hardcase init`: which are one, which are dropped, which are malignant.

Nothing is guessed: what the dictionary of diagnoses does not know is said, and a person decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from engine.config import as_argument
from engine.data.assignment import Labels
from engine.data.diagnoses import ORDER, PREMALIGNANT_NOTE, UMBRELLAS, Diagnosis, normalised, recognise
from engine.data.readers.metadata import given

MELANOMA: Final = "mel"
NO_DIAGNOSIS: Final = frozenset(
    {"unlabelled", "unlabeled", "undiagnosed", "not labelled", "not labeled", "no label"}
)
"""Names, normalised, of a label or a class folder that say that its images have no diagnosis yet."""
SHOWN: Final = 12
WHILE_EMPTY: Final = (
    "while it is empty, every malignant figure (AUC, sensitivity, operating point) is left out"
)


@dataclass(frozen=True, kw_only=True)
class Classes:
    """What ``data.map_labels``, ``data.malignant`` and ``evaluation.melanoma`` become, and what a person should check.

    ``unlabelled`` counts the images of each label that is a word for unknown, or says that there is none: these have no
    diagnosis.
    """

    names: tuple[str, ...]
    mapped: Mapping[str, str]
    unlabelled: Mapping[str, int]
    malignant: tuple[str, ...]
    melanoma: str | None
    checks: tuple[str, ...]

    @property
    def map_labels(self) -> dict[str, str | None]:
        """Return ``data.map_labels``: null where only the words of a label say that there is no diagnosis."""
        return dict(self.mapped) | {label: None for label in self.unlabelled if given(label)}

    def name_of(self, label: str) -> str | None:
        """Return the class of a label, None where it is none."""
        return None if label in self.unlabelled else self.mapped.get(label, label)


def classes_of(counts: Mapping[str, int], must_map: Sequence[str], *, lesions: bool) -> Classes:
    """Decide on the classes of a data set.

    Args:
        counts: images per label, as read.
        must_map: labels that need a name of the user's.
        lesions: whether the images show skin lesions; else no class is malignant and nothing is asked.
    """
    unlabelled = {label: count for label, count in counts.items() if lesions and _no_diagnosis(label)}
    labels = {label: count for label, count in counts.items() if label not in unlabelled}
    mapped = _mapped(labels, must_map) if lesions else {}
    names = tuple(sorted({mapped.get(label, label) for label in labels}))
    known = (
        {name: diagnosis for name in names if (diagnosis := recognise(name)) is not None} if lesions else {}
    )
    malignant = tuple(
        sorted((n for n in known if known[n].malignant), key=lambda n: (ORDER.index(known[n].name), n))
    )
    melanoma = [name for name in names if name in known and known[name].name == MELANOMA]
    checks = [*_said_of_unlabelled(unlabelled), *_said_of_map(mapped)]
    if lesions:
        checks += _said_of_malignant(names, known, malignant)
    return Classes(
        names=names,
        mapped=mapped,
        unlabelled=unlabelled,
        malignant=malignant,
        melanoma=melanoma[0] if len(melanoma) == 1 else None,
        checks=tuple(checks),
    )


def _no_diagnosis(label: str) -> bool:
    return not given(label) or normalised(label) in NO_DIAGNOSIS


def _mapped(counts: Mapping[str, int], must_map: Sequence[str]) -> dict[str, str]:
    """Return names for labels that need one, one name for labels that mean one class."""
    mapped: dict[str, str] = {}
    for label in counts:
        if label in must_map:
            diagnosis = recognise(label)
            mapped[label] = diagnosis.name if diagnosis is not None else label.lower()
    groups: dict[str, list[str]] = {}
    for label in counts:
        diagnosis = recognise(label)
        if diagnosis is not None and diagnosis.name not in UMBRELLAS:
            groups.setdefault(diagnosis.name, []).append(label)
    joined = {
        label: name for name, labels in groups.items() if len(labels) > 1 for label in labels if label != name
    }
    left = {(mapped | joined).get(label, label) for label in counts}
    return mapped | joined if len(left) > 1 else mapped


def _said_of_unlabelled(counts: Mapping[str, int]) -> list[str]:
    if not counts:
        return []
    each = ", ".join(f"{label} {count}" for label, count in counts.items())
    return [
        f"data.unlabelled keeps images without a diagnosis ({each}): no classifier learns from them, `hardcase query` "
        "chooses which to ask about; map_labels can give such a label a class"
    ]


def _said_of_map(mapped: Mapping[str, str]) -> list[str]:
    renamed: dict[str, list[str]] = {}
    for label, name in mapped.items():
        renamed.setdefault(name, []).append(label)
    if not renamed:
        return []
    return [
        "data.map_labels names or joins labels that the dictionary of diagnoses knows: "
        + _few([f"{', '.join(labels)} become {name}" for name, labels in renamed.items()], "; ")
        + "; remove an entry to keep a label apart, null takes the label off its images"
    ]


def _said_of_malignant(
    names: Sequence[str], known: Mapping[str, Diagnosis], malignant: Sequence[str]
) -> list[str]:
    strange = [name for name in names if name not in known]
    if not known:
        return [
            f"data.malignant is empty: none of the classes {_few(strange)} is a diagnosis that is known; "
            f"list the malignant ones there; {WHILE_EMPTY}"
        ]
    said = []
    if malignant:
        each = [_with_nature(name, known[name]) for name in malignant]
        said.append(f"data.malignant: {_few(each)} {'counts' if len(each) == 1 else 'count'} as malignant")
    else:
        said.append(f"data.malignant is empty: no class is known to be malignant; {WHILE_EMPTY}")
    if strange:
        said.append(
            f"data.malignant: not known as a diagnosis, so counted as benign: {_few(strange)}; add the malignant ones"
        )
    return said


def _with_nature(name: str, diagnosis: Diagnosis) -> str:
    """Return a class with its name in full, where that says more, and with its nature where that is a convention."""
    more = [diagnosis.full_name] if normalised(name) != normalised(diagnosis.full_name) else []
    more += [PREMALIGNANT_NOTE] if diagnosis.premalignant else []
    return f"{name} ({', '.join(more)})" if more else name


def few_groups(
    groups: Mapping[str, int], kind: str, labels: Iterable[str], mapped: Mapping[str, str | None], least: int
) -> list[str]:
    """Return what to check where classes have fewer groups (``kind``: patient, lesion or image) than parts need."""
    few = [dx for dx, count in groups.items() if count < least]
    if not few:
        return []
    dropping = Labels(mapping=mapped, names=tuple(labels)).dropping(few)
    mapping = {label: "null" if name is None else name for label, name in dropping.items()}
    drop = f"{as_argument('data.map_labels', mapping)} drops {'it' if len(few) == 1 else 'them'}"
    helps = drop if len(groups) - len(few) >= 2 else "add some"
    return [f"fewer than {least} {kind}s of {_few(few)}, one for each part: {helps}"]


def _few(items: Sequence[str], between: str = ", ") -> str:
    more = f"{between}and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return between.join(items[:SHOWN]) + more
