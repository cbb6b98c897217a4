"""Studies over several runs: the answer where an arm truly helps, hurts or does nothing, and what makes no study."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from engine.artifacts.run_files import read_run
from engine.errors import DataError
from engine.evaluation.scoring import ScoredSplit, bootstrap_figures
from engine.evaluation.statistics import group_weights
from engine.report.study_page import write_study as write_page
from engine.study import comparison as compare
from engine.study.comparison import holm
from engine.study.contrasts import PRIMARY, make_study
from engine.study.design import find_design
from engine.study.design_intervals import intervals
from engine.study.lesions import behind
from engine.study.record import study_record
from engine.study.replicates import Endpoints, Part, Replicate, arm_figures
from engine.study.run_replicates import open_replicate, require_finished
from engine.types import strings
from tests.engine.report.test_run_page import FORBIDDEN, Outline, words
from tests.engine.study.fake_study import write_study

ALL = ("real", "random", "hard")
SENTENCE = re.compile(
    r"Hard cases changed malignant sensitivity at 90 % specificity by ([+-][\d.]+) points \[[^]]+\] against real and "
    r"([+-][\d.]+) points \[[^]]+\] against random synthesis: (helped|hurt|not shown)\."
)


def study_of(tmp_path: Path, draws: int = 100, **what: Any) -> tuple[dict[str, Any], str]:
    """study.json and the page of a simulated study."""
    paths = write_study(tmp_path / "runs", **{"arms": ALL, **what})
    files = [read_run(path) for path in paths]
    for run in files:
        require_finished(run)
    study = make_study([open_replicate(run) for run in files], draws=draws)
    page, record = write_page(study, files, tmp_path, "a study")
    return json.loads(record.read_text(encoding="utf-8")), page.read_text(encoding="utf-8")


def in_plain_words(sentence: str) -> str:
    """The sentence as pages have it: for readers who do not know the arms' names."""
    sentence = re.sub(r"against real\b", "against training on real images alone (real)", sentence)
    return sentence.replace("random synthesis", "training with random synthetic images (random)")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "verdict", "why"),
    [
        ({"gain": {"hard": 0.4}, "lesions": 2500}, "helped", "both intervals lie above 0"),
        ({"gain": {"hard": -0.4}}, "hurt", "the interval against real lies below 0"),
        ({}, "not shown", "the interval against real holds 0; the interval against random synthesis holds 0"),
        ({"gain": {"hard": 0.4}, "protocol": "leaky", "lesions": 400}, "not shown", "the protocol is leaky"),
        (
            {"gain": {"hard": 0.4}, "replicates": 4, "lesions": 400},
            "not shown",
            "4 training sets; 5 are the fewest for a claim",
        ),
        (
            {"gain": {"hard": 0.3}, "inflate": {"hard": 0.6}, "lesions": 1500},
            "not shown",
            "specificity may have fallen by more than 2 points",
        ),
        (
            {"gain": {"hard": 0.4, "random": 0.4}},
            "not shown",
            "the interval against random synthesis holds 0",
        ),
        (
            {"gain": {"hard": -0.4}, "folds": True, "replicates": 5},
            "hurt",
            "the interval against real lies below 0",
        ),
    ],
    ids=["helps", "hurts", "nothing", "leaky", "four", "specificity", "random", "folds"],
)  # fmt: skip
def test_the_first_sentence_is_right(tmp_path: Path, what: dict[str, Any], verdict: str, why: str) -> None:
    record, page = study_of(tmp_path, draws=400, **what)
    found = SENTENCE.fullmatch(record["answer"]["sentence"])
    assert found is not None
    assert found[3] == record["answer"]["verdict"] == verdict
    assert record["answer"]["reason"].startswith(why)
    told = re.search(r'class="answer-sentence">(.*?)</p>', page, flags=re.S)
    assert told is not None
    bare, marked = re.subn(r'<span class="interval">(\[.*?\])</span>', r"\1", told[1])
    assert marked == bare.count("["), "every interval is set smaller than its amount"
    assert bare.endswith(in_plain_words(record["answer"]["sentence"]))
    assert told[1].startswith("<strong>LEAKY:</strong>") == (record["protocol"] == "leaky")


@pytest.mark.slow
def test_melanomas_that_cannot_be_scored_forbid_helped(gaining: list[Replicate]) -> None:
    """A gain on the other malignant lesions is no gain where nobody can tell what became of the melanomas."""
    classes = gaining[0].classes
    mel, bcc = classes.index("mel"), classes.index("bcc")

    def without(run: Replicate) -> Replicate:
        label = np.where(run.test.label_N == mel, bcc, run.test.label_N)
        return replace(run, test=replace(run.test, label_N=label))

    answers = [
        make_study([change(run) for run in gaining], draws=400).answer for change in (lambda r: r, without)
    ]
    assert answers[0].verdict == "helped"
    assert answers[1].verdict == "not shown"
    assert "val or test holds too few melanomas" in answers[1].reason


@pytest.mark.slow
def test_few_draws_and_holms_p_forbid_a_claim(
    gaining: list[Replicate], monkeypatch: pytest.MonkeyPatch
) -> None:
    """100 draws put two and a half beyond each end of a 95 % interval; they may be set, and claim nothing."""
    few = make_study(gaining, draws=100)
    assert few.answer.reason == (
        "100 bootstrap draws; 400 are the fewest for an interval at 95 % (evaluation.bootstrap)"
    )
    claim = few.contrast(PRIMARY, "random")
    assert claim is not None and claim.claim == "not shown" and claim.reason == few.answer.reason
    monkeypatch.setattr(compare, "holm", lambda found: dict.fromkeys(found, 0.05))
    claim = make_study(gaining, draws=400).contrast(PRIMARY, "random")
    assert claim is not None and claim.adjusted is not None and claim.adjusted.low > 0
    assert (claim.claim, claim.reason) == ("not shown", "Holm's p is 0.050")


@pytest.mark.slow
def test_random_with_fewer_images_is_no_bar_that_was_cleared(gaining: list[Replicate]) -> None:
    """Hard had 600 images of melanoma and random 10: a gain over it is one of more images."""
    runs = [replace(run, added={"hard": {"mel": 120}, "random": {"mel": 2}}) for run in gaining]
    study = make_study(runs, draws=400)
    why = "random and hard had unequal numbers of images added: mel 10 and 600"
    assert (study.answer.verdict, study.answer.reason) == ("not shown", why)
    claim = study.contrast(PRIMARY, "random")
    assert claim is not None and (claim.claim, claim.reason) == ("not shown", why)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("saw", "others", "told"),
    [("train", True, "train images outside"), ("train", False, ""), ("own", True, ""), ("unlabelled", True, "unlabelled")],
)  # fmt: skip
def test_what_the_generator_saw_stands_beside_a_gain(
    gaining: list[Replicate], saw: str, others: bool, told: str
) -> None:
    pool = {"pool": frozenset({"another"})} if others else {}
    runs = [replace(run, generator_saw=saw, parts={**run.parts, **pool}) for run in gaining]
    study = make_study(runs, draws=400)
    claim = study.contrast(PRIMARY, "random")
    assert study.answer.verdict == "helped" and claim is not None and claim.claim == "better"
    warning = "part of a gain is other real images that reach the classifier through it"
    assert (warning in study.answer.reason) == (warning in claim.reason) == bool(told)
    assert told in study.answer.reason


def test_a_run_says_what_its_arms_had_added_and_its_generator_saw(tmp_path: Path) -> None:
    run = open_replicate(read_run(write_study(tmp_path, arms=ALL, lesions=200, replicates=1)[0]))
    assert run.added == {"real": {"mel": 0}, "random": {"mel": 120}, "hard": {"mel": 120}}
    assert run.generator_saw == "own"


def with_few(run: Replicate, part: str, dx: str, keep: int) -> Replicate:
    """The run without all but so many lesions of a class in a part."""
    held = run.test if part == "test" else run.val
    rows_N = held.label_N == run.classes.index(dx)
    kept = np.unique(held.group_N[rows_N])[:keep]
    return replace(run, **{part: held.take(~rows_N | np.isin(held.group_N, kept))})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def gaining(tmp_path_factory: pytest.TempPathFactory) -> list[Replicate]:
    """Five training sets on which hard truly helps, bcc and melanoma being malignant."""
    root = tmp_path_factory.mktemp("gaining")
    paths = write_study(root, arms=ALL, gain={"hard": 0.8}, lesions=2500, replicates=5)
    return [open_replicate(read_run(path)) for path in paths]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("few", "why"),
    [
        ([], ""),
        ([("test", "mel", 1)], "melanoma sensitivity rests on 1 melanoma test lesion; 20 are"),
        ([("val", "mel", 1)], "melanoma sensitivity rests on 1 melanoma val lesion; 20 are"),
        (
            [("test", "mel", 1), ("test", "bcc", 0)],
            "malignant sensitivity rests on 1 malignant test lesion; 20 are the fewest for a claim",
        ),
    ],
    ids=["enough", "one melanoma", "one melanoma in val", "one malignant"],
)
def test_one_lesion_proves_nothing(
    gaining: list[Replicate], few: list[tuple[str, str, int]], why: str
) -> None:
    """A resample of one lesion has no variance: an interval of width 0 was read as proof."""
    runs = gaining
    for part, dx, keep in few:
        runs = [with_few(run, part, dx, keep) for run in runs]
    study = make_study(runs, draws=400)
    assert study.answer.verdict == ("not shown" if few else "helped"), study.answer
    assert why in study.answer.reason
    claim = study.contrast(PRIMARY, "random")
    assert claim is not None
    primary_too = why.startswith("malignant")
    assert claim.claim == ("not shown" if primary_too else "better")
    assert (why in claim.reason) if primary_too else claim.reason == ""
    told = next(
        c
        for c in study_record(study, [{} for _ in runs])["contrasts"]
        if (c["figure"], c["baseline"]) == (PRIMARY, "random")
    )
    assert (told["reason"], told["lesions"]["count"]) == (claim.reason, claim.lesions.count)


@pytest.mark.parametrize(
    ("figure", "expected"),
    [
        ("malignant.sensitivity", ("malignant test", 3)),
        ("malignant.specificity", ("benign val", 4)),
        ("malignant.auc", ("malignant test", 3)),
        ("malignant.mean_sensitivity", ("malignant test", 3)),
        ("melanoma.sensitivity", ("melanoma test", 1)),
        ("melanoma.specificity", ("melanoma val", 2)),
        ("per_class.bkl.sensitivity", ("bkl test", 2)),
        ("balanced_accuracy", ("mel test", 1)),
        ("log_loss", ("test", 8)),
    ],
)
def test_what_a_figure_rests_on(figure: str, expected: tuple[str, int]) -> None:
    """Test: bcc 2, bkl 2, mel 1, nv 3 lesions, two photographs each. Val: mel 2, nv 4."""

    def part(counts: dict[str, int]) -> Part:
        names = [(dx, f"{dx}{n}") for dx, many in counts.items() for n in range(many) for _ in range(2)]
        ids = strings([f"{name}_{n}" for n, (_, name) in enumerate(names)])
        groups = strings([name for _, name in names])
        label = np.array([("bcc", "bkl", "mel", "nv").index(dx) for dx, _ in names])
        return Part(image_id=ids, lesion_id=ids, group_N=groups, label_N=label, prob={})

    run = Replicate(
        name="a",
        seed=0,
        protocol="safe",
        classes=("bcc", "bkl", "mel", "nv"),
        endpoints=Endpoints(malignant=("mel", "bcc")),
        parts={},
        val=part({"mel": 2, "nv": 4}),
        test=part({"bcc": 2, "bkl": 2, "mel": 1, "nv": 3}),
    )
    found = behind([run, run], figure)
    assert (found.what, found.count) == expected


def test_a_missing_arm_is_named(tmp_path: Path) -> None:
    what: dict[str, Any] = {"arms": ("real", "hard"), "gain": {"hard": 0.4}, "lesions": 300, "replicates": 5}
    record, _ = study_of(tmp_path, draws=400, **what)
    assert "against random synthesis (random was not run): not shown." in record["answer"]["sentence"]
    assert record["answer"]["reason"].startswith("random was not run")


@pytest.mark.slow
def test_confirmatory_contrasts_are_holms_and_the_rest_exploratory(tmp_path: Path) -> None:
    record, page = study_of(
        tmp_path, arms=("real", "classical", "mined", "retrieved", "random", "hard"), lesions=400
    )
    roles = {(c["figure"], c["baseline"]): c["role"] for c in record["contrasts"]}
    family = {arm for (figure, arm), role in roles.items() if role == "confirmatory"}
    assert family == {"classical", "mined", "retrieved", "random"}
    assert roles[PRIMARY, "real"] == "primary" and roles["malignant.specificity", "real"] == "guard"
    assert roles["accuracy", "random"] == "exploratory"
    for contrast in record["contrasts"]:
        assert (contrast["holm_p"] is not None) == (contrast["role"] == "confirmatory")
        assert contrast["low"] == min(p["low"] for p in contrast["procedures"])
        assert contrast["high"] == max(p["high"] for p in contrast["procedures"])
        if contrast["role"] == "confirmatory":
            assert contrast["adjusted"]["low"] < contrast["low"] and contrast["claim"] == "not shown"
    assert "Other figures (exploratory)" in page


def test_the_page_is_well_formed_self_contained_and_modest(tmp_path: Path) -> None:
    _, page = study_of(tmp_path, replicates=2, lesions=300)
    outline = Outline(page)
    assert outline.open == [] and len(outline.ids) == len(set(outline.ids))
    assert outline.headings[0] == 1 and outline.headings.count(1) == 1
    assert all(b - a <= 1 for a, b in zip(outline.headings, outline.headings[1:], strict=False))
    assert outline.tables == outline.captions > 4
    assert all(link.startswith(("#", "data:")) for link in outline.links)
    assert {link[1:] for link in outline.links if link.startswith("#")} <= set(outline.ids)
    assert [word for word in FORBIDDEN if word in words(page).lower()] == []


def test_the_page_tells_subgroups_challenging_lesions_acceptance_and_cost(tmp_path: Path) -> None:
    _, page = study_of(tmp_path, replicates=2, lesions=300)
    text = words(page)
    assert "By sex; mean over runs; brackets hold the lowest and the highest, no interval" in text
    assert "Skin type Not assessable: the data set does not record it." in text
    assert "Mean over runs, test part, last round" in text and "judge disagreed" in text
    assert "any gate: 2 of 20 (10.0 %)" in text  # one copy among ten images, two runs
    assert "(hard) took beyond training on real images alone (real), 2 runs together" in text


@pytest.mark.slow
def test_two_methods_by_design(tmp_path: Path) -> None:
    shared, _ = study_of(tmp_path / "a", replicates=3, lesions=300)
    folds, _ = study_of(tmp_path / "b", replicates=4, lesions=300, folds=True)
    methods = [[p["method"] for p in found["contrasts"][0]["procedures"]] for found in (shared, folds)]
    assert methods[0] == ["crossed bootstrap of training sets and lesions", "paired t over training sets"]
    assert methods[1] == ["bootstrap of lesions within folds", "corrected resampled t"]
    assert (shared["design"]["kind"], folds["design"]["kind"]) == ("shared test", "cross-validation")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Replicate]:
    root = tmp_path_factory.mktemp("study")
    paths = write_study(root, arms=ALL, lesions=400, replicates=3)
    return [open_replicate(read_run(path)) for path in paths]


@pytest.fixture(scope="module")
def folds(tmp_path_factory: pytest.TempPathFactory) -> list[Replicate]:
    root = tmp_path_factory.mktemp("folds")
    return [
        open_replicate(read_run(p))
        for p in write_study(root, arms=ALL, lesions=400, replicates=3, folds=True)
    ]


def test_the_point_figures_are_those_of_the_report(tmp_path: Path) -> None:
    """Val's threshold, applied to test: what report.json holds, here computed again from predictions."""
    path = write_study(tmp_path, arms=ALL, lesions=300, replicates=1)[0]
    run = open_replicate(read_run(path))
    for entry in json.loads((path / "report.json").read_text())["rounds"]:
        found = arm_figures(run, entry["arm"], 20, 0).point
        for figure in ("sensitivity", "specificity", "auc"):
            assert found[f"malignant.{figure}"] == pytest.approx(entry["test"]["malignant"][figure]["value"])
        assert found["balanced_accuracy"] == pytest.approx(entry["test"]["balanced_accuracy"]["value"])


def test_draws_are_paired_between_arms_and_replicates(runs: list[Replicate]) -> None:
    same = replace(
        runs[0],
        test=replace(runs[0].test, prob=dict.fromkeys(ALL, runs[0].test.prob["real"])),
        val=replace(runs[0].val, prob=dict.fromkeys(ALL, runs[0].val.prob["real"])),
    )
    study = make_study([same], draws=50)
    contrast = study.contrast(PRIMARY, "real")
    assert contrast is not None
    assert (contrast.difference.low, contrast.difference.high) == (0.0, 0.0)


def test_a_threshold_read_again_widens_the_interval(runs: list[Replicate]) -> None:
    run = runs[0]
    draws = arm_figures(run, "hard", 400, 0).drawn["malignant.specificity"]
    columns = [c for c, dx in enumerate(run.classes) if dx in run.endpoints.malignant]
    benign = ~np.isin(run.test.label_N, columns)
    score = run.test.prob["hard"][:, columns].sum(axis=1)
    fixed = ScoredSplit(
        prob_NC=run.test.prob["hard"],
        label_N=run.test.label_N,
        lesion_id=run.test.lesion_id,
        group_N=run.test.group_N,
        classes=run.classes,
        malignant=run.endpoints.malignant,
        threshold=float(np.quantile(score[benign], 0.9)),
    )
    weights = group_weights(len(np.unique(fixed.group_N)), 400, np.random.default_rng(0))
    plain = bootstrap_figures(fixed, weights)[1]["malignant.specificity"]
    assert np.nanstd(draws) > 1.3 * np.nanstd(plain)


def test_seeds_of_one_training_set_are_averaged(runs: list[Replicate]) -> None:
    twice = [*runs, *(replace(run, name=f"{run.name}b", seed=run.seed + 10) for run in runs)]
    once, study = make_study(runs, draws=50), make_study(twice, draws=50)
    assert study.design.replicates == 3 and len(study.runs) == 6
    one, other = (s.contrast(PRIMARY, "real") for s in (once, study))
    assert one is not None and other is not None and one.values == pytest.approx(other.values)


def test_seeds_of_one_training_set_are_no_replicates_and_claim_nothing(runs: list[Replicate]) -> None:
    """Five seeds that all agree: the seeds alone could make any gap of one training set a claim."""
    seeds = [replace(runs[0], name=f"seed {n}", seed=n) for n in range(5)]
    study = make_study(seeds, draws=20)
    assert study.design.unit == "training seed"
    why = "5 seeds of one training set are no replicates"
    assert study.answer.verdict == "not shown" and study.answer.reason.startswith(why)
    record = study_record(study, [{} for _ in seeds])
    assert record["answer"]["reason"].startswith(why) and record["design"]["objection"].startswith(why)
    assert {c["claim"] for c in record["contrasts"] if c["role"] == "confirmatory"} == {"not shown"}


def test_overlapping_training_sets_forbid_a_claim(runs: list[Replicate]) -> None:
    first, second = runs[0], runs[1]
    overlapping = replace(
        second,
        parts={**second.parts, "train": second.parts["train"] | frozenset(list(first.parts["train"])[:3])},
    )
    found = make_study([first, overlapping], draws=20)
    assert found.answer.verdict == "not shown" and "share 3 lesions" in found.answer.reason


def test_lesions_in_train_and_test_forbid_a_claim(runs: list[Replicate]) -> None:
    bad = replace(runs[0], parts={**runs[0].parts, "train": runs[0].parts["test"]})
    assert "lie in its training and its test part" in make_study([bad], draws=20).answer.reason


def test_a_classifiers_own_training_sets_are_told_from_the_pool(tmp_path: Path) -> None:
    path = write_study(tmp_path, arms=ALL, lesions=200, replicates=1)[0]
    split = pd.read_parquet(path / "split.parquet")
    train = split["split"] == "train"
    split["train_set"] = np.where(train, np.arange(len(split)) % 2, -1)
    split.to_parquet(path / "split.parquet")
    run = read_run(path)
    config = {**run.config, "data": {**run.config["data"], "split": {"train_sets": {"use": [1]}}}}
    found = open_replicate(replace(run, config=config))
    assert found.lesions("train") == set(split["lesion_id"][split["train_set"] == 1])
    assert found.lesions("pool") == set(split["lesion_id"][split["train_set"] == 0])
    assert found.whole
    split[split["train_set"] != 0].to_parquet(
        path / "split.parquet"
    )  # a generator that sees its own images alone
    alone = open_replicate(replace(read_run(path), config=config))
    assert alone.lesions("train") == found.lesions("train") and not alone.whole


def test_folds_that_each_train_on_some_lesions_are_a_cross_validation(folds: list[Replicate]) -> None:
    """Test lesions of one are, for another, in the train part that its training set leaves out."""
    some = [
        replace(
            run,
            whole=False,
            parts={part: run.lesions(part) for part in ("val", "test")}
            | {"train": frozenset(sorted(run.lesions("train"))[:40])},
        )
        for run in folds
    ]
    assert some[2].lesions("test") - some[0].all_lesions
    assert make_study(some, draws=20).design.kind == "cross-validation"
    parts = {name: frozenset(f"b{lesion}" for lesion in lesions) for name, lesions in some[1].parts.items()}
    with pytest.raises(DataError, match="no folds of one cross-validation"):
        make_study([some[0], replace(some[1], parts=parts)], draws=20)


def test_a_reference_arm_is_no_bar(runs: list[Replicate]) -> None:
    study = make_study([replace(run, references=frozenset({"random"})) for run in runs], draws=20)
    contrast = study.contrast(PRIMARY, "random")
    assert contrast is not None and contrast.role == "exploratory"
    assert contrast.adjusted_p is None and contrast.claim == ""


def test_what_makes_no_study_is_refused_by_name(runs: list[Replicate], folds: list[Replicate]) -> None:
    with pytest.raises(DataError, match=r"share .* test lesions: neither one test set nor folds"):
        make_study([runs[0], folds[0]], draws=20)
    with pytest.raises(DataError, match="run_0: is the same as run_0"):
        make_study([runs[0], runs[0]], draws=20)
    with pytest.raises(DataError, match="protocol leaky differs from run_0's safe"):
        make_study([runs[0], replace(runs[1], protocol="leaky")], draws=20)
    with pytest.raises(DataError, match=r"classes .* differs"):
        make_study([runs[0], replace(runs[1], classes=("a", "b", "c", "d"))], draws=20)
    with pytest.raises(DataError, match="unequal numbers of runs a training set"):
        make_study([*runs, replace(runs[0], name="again", seed=9)], draws=20)
    stranger = replace(folds[1], parts={**folds[1].parts, "test": frozenset({"elsewhere"})})
    with pytest.raises(DataError, match="no folds of one cross-validation: 1 test lesions"):
        make_study([folds[0], stranger], draws=20)
    with pytest.raises(DataError, match="no run folder"):
        make_study([], draws=20)


def test_an_unfinished_run_is_refused(tmp_path: Path) -> None:
    path = write_study(tmp_path, arms=ALL, lesions=200, replicates=1)[0]
    report = json.loads((path / "report.json").read_text())
    (path / "report.json").write_text(
        json.dumps(report | {"stopping": {"action": "failed", "reason": "the run did not finish"}})
    )
    with pytest.raises(DataError, match="has not finished"):
        require_finished(read_run(path))
    lost = report | {"rounds": [e for e in report["rounds"] if e["arm"] != "random"]}
    (path / "report.json").write_text(json.dumps(lost))
    with pytest.raises(DataError, match="lacks arm random"):
        require_finished(read_run(path))
    (path / "rounds/0001/arms/real/predictions.parquet").unlink()
    with pytest.raises(DataError, match="predictions of real are not in the run folder"):
        open_replicate(read_run(path))


NEW = ("malignant.auc", "log_loss")


@pytest.mark.slow
def test_a_study_planned_on_two_figures_has_one_family_over_both(tmp_path: Path) -> None:
    arms = ("real", "classical", "random", "hard")
    record, page = study_of(tmp_path, arms=arms, primary=NEW, gain={"hard": 0.4}, lesions=1500, draws=1600)
    assert record["endpoints"]["primary"] == list(NEW)
    family = {(c["figure"], c["baseline"]): c for c in record["contrasts"] if c["role"] == "confirmatory"}
    assert set(family) == {(figure, arm) for figure in NEW for arm in ("classical", "random")}
    roles = {(c["figure"], c["baseline"]): c["role"] for c in record["contrasts"]}
    assert (roles["malignant.auc", "real"], roles["log_loss", "real"]) == ("primary", "co-primary")
    assert roles[PRIMARY, "real"] == "exploratory"
    plain = {c: min(1.0, max(p["p_value"] for p in found["procedures"])) for c, found in family.items()}
    together = holm({str(c): p for c, p in plain.items()})
    assert {str(c): found["holm_p"] for c, found in family.items()} == pytest.approx(together)
    assert {found["claim"] for found in family.values()} == {"better"}
    loss = family["log_loss", "random"]
    assert loss["adjusted"]["high"] < 0 and loss["lower_is_better"], "a fall of the log loss is the gain"
    assert re.match(
        r"Hard cases changed malignant AUC by \+0\.\d{3} \[.* against real and .*, and log loss "
        r"\(lower is better\) by -0\.\d{3} \[",
        record["answer"]["sentence"],
    )
    assert record["answer"]["verdict"] == "helped"
    text = words(page)
    assert (
        "The primary endpoint is malignant AUC, last round; co-primary: Log loss (lower is better)." in text
    )
    family = "with repeated real images (classical) and with random synthetic images (random)"
    assert f"Holm's method over training {family}, 2 endpoints each" in text
    assert (
        "Malignant AUC (primary endpoint), trained with synthetic hard cases (hard) minus each other arm"
        in text
    )


@pytest.mark.slow
def test_a_higher_log_loss_is_worse(tmp_path: Path) -> None:
    record, _ = study_of(
        tmp_path, arms=ALL, primary=("log_loss",), gain={"hard": -0.6}, lesions=400, draws=400
    )
    (found,) = [c for c in record["contrasts"] if c["role"] == "confirmatory"]
    assert found["value"] > 0 and found["claim"] == "worse"
    assert record["answer"]["reason"] == "the interval against real lies above 0"


def test_arms_of_one_pool_have_no_interval_anywhere(tmp_path: Path) -> None:
    """Nothing was accepted, and yet the two classifiers differ by 20 points: chance of training alone."""
    record, page = study_of(tmp_path, arms=ALL, gain={"hard": -0.4}, accepted=0, primary=NEW, lesions=400)
    assert record["answer"]["sentence"].startswith(
        "Nothing was tested, since no synthetic image was accepted"
    )
    assert record["untested"] == ["real", "random"] and record["contrasts"] == []
    assert [run["tests_against_real"] for run in record["runs"]] == [None] * 6
    text = words(page)
    assert (
        "Nothing was tested against training on real images alone (real), with random synthetic images (random)"
        in text
    )
    assert not re.search(r"[+-]\d+\.\d+ points? \[|[+-]0\.\d{3} \[", text)


def with_pools(run: Replicate, **pools: str) -> Replicate:
    return replace(run, pools=pools)


def test_where_random_has_the_pool_of_hard_real_is_compared_and_the_family_keeps_its_size(
    runs: list[Replicate],
) -> None:
    tested = make_study([with_pools(run, hard="h", real="r", random="s") for run in runs], draws=30)
    same = make_study([with_pools(run, hard="h", real="r", random="h") for run in runs], draws=30)
    assert same.untested == ("random",) and same.contrast(PRIMARY, "random") is None
    assert same.contrast(PRIMARY, "real") == tested.contrast(PRIMARY, "real")
    assert "nothing was tested against random synthesis" in same.answer.sentence


def test_an_untested_baseline_makes_no_other_claim_easier(tmp_path: Path) -> None:
    arms = ("real", "classical", "random", "hard")
    paths = write_study(tmp_path, arms=arms, lesions=300, replicates=3)
    runs = [open_replicate(read_run(path)) for path in paths]
    every = make_study(runs, draws=60).contrast(PRIMARY, "random")
    fewer = make_study([with_pools(run, hard="h", classical="h") for run in runs], draws=60)
    found = fewer.contrast(PRIMARY, "random")
    assert fewer.contrast(PRIMARY, "classical") is None
    assert found is not None and every is not None
    assert found.adjusted == every.adjusted and found.adjusted_p == pytest.approx(
        min(1.0, 2 * (found.difference.p_value or 1.0))
    )


def test_pools_equal_in_some_training_sets_are_told(runs: list[Replicate]) -> None:
    pools = [{"hard": "h", "real": "h"}, {"hard": "h", "real": "r"}, {"hard": "h", "real": "r"}]
    study = make_study([with_pools(run, **p) for run, p in zip(runs, pools, strict=True)], draws=20)
    assert study.untested == () and study.contrast(PRIMARY, "real") is not None
    assert study.answer.reason.endswith("hard and real trained on the same images in 1 of 3 training sets")


def test_the_order_of_runs_changes_no_point(runs: list[Replicate]) -> None:
    forth, back = (make_study(order, draws=40) for order in (runs, runs[::-1]))
    for contrast in forth.contrasts:
        other = back.contrast(contrast.figure, contrast.baseline)
        assert other is not None
        assert other.difference.value == pytest.approx(contrast.difference.value, abs=1e-12)
        assert other.values == pytest.approx(contrast.values[::-1])


def test_folds_that_train_on_what_others_test_are_corrected(tmp_path: Path) -> None:
    """Each of three folds trains on one fold: the training sets share nothing, and each is another fold's test part."""
    found, page = study_of(tmp_path, replicates=3, lesions=300, folds=True)
    methods = [p["method"] for p in found["contrasts"][0]["procedures"]]
    assert methods == ["bootstrap of lesions within folds", "corrected resampled t"]
    design = found["design"]
    assert 0 < design["correlation"] <= design["in_common"] < 1
    assert f"for correlated by {design['correlation']:.2f}, since they share lesions" in words(page)


def folds_with(base: Replicate, shared: int, own: int, test: int, sets: int = 1) -> list[Replicate]:
    """Five folds of so many test lesions, with ``sets`` training sets each that share ``shared`` lesions across folds."""
    found = []
    for fold, k in product(range(5), range(sets)):
        parts = {
            "train": frozenset(
                {f"s{k}_{n}" for n in range(shared)} | {f"o{fold}_{k}_{n}" for n in range(own)}
            ),
            "val": frozenset({"v"}),
            "test": frozenset(f"t{fold}_{n}" for n in range(test)),
        }
        found.append(replace(base, name=f"fold {fold}, set {k}", seed=k, parts=parts, whole=False))
    return found


@pytest.mark.parametrize(
    ("shared", "own", "test", "correlation"),
    [(0, 40, 80, 0.0), (4, 36, 80, 0.1), (30, 10, 80, 80 / 120), (30, 10, 10, 0.2), (39, 1, 160, 0.8)],
    ids=["nothing", "little", "much, and test larger", "much, and test smaller", "nearly all"],
)
def test_folds_correlate_by_what_their_training_sets_share_at_most(
    runs: list[Replicate], shared: int, own: int, test: int, correlation: float
) -> None:
    design = find_design(folds_with(runs[0], shared, own, test))
    assert design.in_common == pytest.approx(shared / (shared + own))
    assert design.correlation == pytest.approx(correlation)


@pytest.mark.parametrize(
    ("shared", "test", "method"),
    [(0, 80, "paired t over folds"), (4, 80, "corrected t over folds"), (30, 10, "corrected resampled t")],
    ids=["nothing", "little", "much"],
)
def test_the_t_over_folds_is_named_by_its_correlation(
    runs: list[Replicate], shared: int, test: int, method: str
) -> None:
    design = find_design(folds_with(runs[0], shared, 40 - shared, test))
    value_R = np.arange(5.0)
    _, t = intervals(value_R, np.tile(value_R[:, None], 8), design, 0)
    plain = compare.paired_t(value_R)
    widened = np.sqrt(1 + 5 * design.correlation / (1 - design.correlation))
    assert (t.method, t.width) == (method, pytest.approx(plain.width * widened))


def test_sets_of_one_fold_are_taken_together(runs: list[Replicate]) -> None:
    """Each of two disjoint sets per fold has 8 of 40 lesions in common with one set of every other fold."""
    design = find_design(folds_with(runs[0], 8, 32, 80, sets=2))
    assert (design.replicates, design.in_common) == (5, pytest.approx(16 / 80))


@pytest.mark.parametrize(("saw", "in_common"), [("own", 0.1), ("train", 0.5), ("", 0.5), ("unlabelled", 1.0)])
def test_what_the_generator_saw_is_in_common_too(runs: list[Replicate], saw: str, in_common: float) -> None:
    """Beside 40 lesions of its own set each fold's generator saw 40 of a pool; 36 of them were the others' too."""
    folds = [
        replace(
            run,
            generator_saw=saw,
            parts={
                **run.parts,
                "pool": frozenset({f"p{n}" for n in range(36)} | {f"q{fold}_{n}" for n in range(4)}),
            },
        )
        for fold, run in enumerate(folds_with(runs[0], 4, 36, 80))
    ]
    assert find_design(folds).in_common == pytest.approx(in_common)


def test_a_lesion_that_trains_one_fold_and_tests_another_counts(runs: list[Replicate]) -> None:
    """Of each fold's 40 training lesions ten are test lesions of every other fold, which has 90."""
    folds = []
    for fold, run in enumerate(folds_with(runs[0], 0, 0, 90)):
        others = [f"t{other}_{n}" for other in range(5) if other != fold for n in range(10)]
        folds.append(replace(run, parts={**run.parts, "train": frozenset(others)}))
    training = 30 / 40  # two folds train on ten test lesions of each of three others
    assert find_design(folds).in_common == pytest.approx(training + 10 / np.sqrt(40 * 90))


def test_a_lesion_of_several_sets_of_a_fold_weighs_more(runs: list[Replicate]) -> None:
    """Both sets of a fold hold the same 50 lesions, which every other fold's hold too, and 50 of their own."""
    folds = [
        replace(
            run,
            parts={
                **run.parts,
                "train": frozenset({f"core{n}" for n in range(50)} | {f"{run.name}_{n}" for n in range(50)}),
            },
        )
        for run in folds_with(runs[0], 1, 1, 80, sets=2)
    ]
    assert find_design(folds).in_common == pytest.approx(50 * 4 / (50 * 4 + 100))


def test_a_replicate_without_a_known_training_lesion_shares_none(runs: list[Replicate]) -> None:
    folds = [replace(run, parts={**run.parts, "train": frozenset()}) for run in folds_with(runs[0], 1, 1, 80)]
    assert find_design(folds).in_common == 0.0


def test_a_protocol_may_suppose_a_correlation(runs: list[Replicate]) -> None:
    design = find_design(folds_with(runs[0], 4, 36, 80))
    supposing = replace(design, supposed=0.4)
    assert (supposing.correlation, supposing.in_common) == (0.4, design.in_common)


def test_one_test_part_needs_no_correction_for_folds(runs: list[Replicate]) -> None:
    assert find_design(runs).correlation == 0.0


def test_a_run_made_before_the_key_was_planned_on_the_sensitivity(tmp_path: Path) -> None:
    path = write_study(tmp_path, arms=ALL, lesions=200, replicates=1, primary=NEW)[0]
    run = read_run(path)
    assert open_replicate(run).endpoints.primary == NEW
    section = {key: value for key, value in run.config["evaluation"].items() if key != "primary"}
    old = replace(run, config={**run.config, "evaluation": section})
    study = make_study([open_replicate(old)], draws=20)
    assert study.endpoints == (PRIMARY,)
    assert study.answer.sentence.startswith("Hard cases changed malignant sensitivity at 90 % specificity by")
    with pytest.raises(DataError, match="endpoints"):
        make_study([open_replicate(old), replace(open_replicate(run), name="b", seed=7)], draws=20)
