"""One small example of every artifact, written into a folder of its own; the values are those the tests name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from engine.artifacts import (
    accept,
    asked,
    challenging,
    conditioning,
    decoded_images,
    duplicates,
    features,
    generator_parts,
    hard_cases,
    index,
    judge,
    labels,
    lesions,
    neighbours,
    oracle,
    pool,
    predictions,
    split,
    study_json,
    synthesized,
    synthetic,
    tune_json,
)
from engine.artifacts.calibration import Calibration
from engine.artifacts.champion import Champion
from engine.artifacts.checksums_json import Checksums
from engine.artifacts.classifier_fit import FitFacts
from engine.artifacts.conditioning import Samples
from engine.artifacts.embedder import EmbedderFacts
from engine.artifacts.fidelity import Fidelity
from engine.artifacts.labels import Answer
from engine.artifacts.report_json import RoundEntry, RunReport, Stopping
from engine.artifacts.run_progress import RunProgress
from engine.artifacts.scores import Scores
from engine.artifacts.stage_manifest import StageManifest
from engine.types import Conditioning, HardCases, LesionTable, Predictions, Verdicts, strings

IDS = strings(["I1", "I2", "I3"])
LESIONS = strings(["L1", "L1", "L2"])
DX = strings(["mel", "mel", "nv"])
NONE = strings(["", "", ""])


def lesion_table() -> LesionTable:
    return LesionTable(
        image_id=IDS, lesion_id=LESIONS, patient_id=NONE, dx=DX, split=NONE, origin=strings(["real"] * 3),
        age=np.array([40.0, np.nan, 61.5]), sex=strings(["male", "", "female"]), localization=NONE, skin_type=NONE,
        path=strings(["a.jpg", "", ""]), mask_path=NONE,
    )  # fmt: skip


def pairs() -> duplicates.DuplicatePairs:
    return duplicates.DuplicatePairs(
        first_P=strings(["I1"]), second_P=strings(["I3"]), distance_P=np.array([0.125]), exact_P=np.array([False]),
        turn_P=strings(["as it is"]), placement_P4=np.array([[0.5, 0.25, -1.0, 2.0]]),
        by_P=strings(["keypoints"]), inliers_P=np.array([56]), sure_P=np.array([True]),
    )  # fmt: skip


def split_table() -> split.SplitTable:
    return split.SplitTable(
        image_id=IDS, lesion_id=LESIONS, dx=DX, split=strings(["train", "train", "test"]),
        group_N=strings(["L1", "L1", "P9"]), row_N=np.array([0, 1, 4]), train_set_N=np.array([0, 1, -1]),
    )  # fmt: skip


def predicted() -> Predictions:
    return Predictions(
        image_id=IDS, classes=("nv", "mel"), prob_NC=np.array([[0.25, 0.75], [0.5, 0.5], [1.0, 0.0]]),
        label_N=np.array([1, 1, 0]), split=strings(["val", "val", "test"]),
    )  # fmt: skip


def cases() -> HardCases:
    return HardCases(
        image_id=strings(["I2", "I1"]), true=strings(["mel", "mel"]), predicted=strings(["nv", "mel"]),
        score=np.array([0.75, 0.5]),
    )  # fmt: skip


def conditioned() -> Conditioning:
    return Conditioning(
        sample_id=strings(["s0", "s1"]), levels_SLD=np.arange(8, dtype=np.float32).reshape(2, 2, 2),
        label_S=strings(["mel", "nv"]), parent_image_id=strings(["I1", "I3"]),
        neighbour_ids_SK=strings(["I1", "I2", "I3", ""]).reshape(2, 2),
        weights_SK=np.array([[0.75, 0.25], [1.0, 0.0]]), seed_S=np.array([7, 11]),
        difficulty_S=np.array([1.0, 0.0]),
    )  # fmt: skip


def retrieved() -> neighbours.Neighbours:
    return neighbours.Neighbours(
        image_id=strings(["I1", "I2"]), dx=strings(["mel", "mel"]),
        neighbour_ids_MK=strings(["I7", "I8", "I9", ""]).reshape(2, 2),
        similarity_MK=np.array([[0.5, 0.25], [0.125, -np.inf]], dtype=np.float32),
    )  # fmt: skip


def made() -> synthetic.SyntheticTable:
    full = conditioned()
    names = (
        "sample_id",
        "label_S",
        "parent_image_id",
        "neighbour_ids_SK",
        "weights_SK",
        "seed_S",
        "difficulty_S",
    )
    return synthetic.SyntheticTable(
        samples=Samples(**{name: getattr(full, name) for name in names}),
        verdicts=Verdicts(accepted_S=np.array([True, False]), reason_S=strings(["", "judge: nv 0.12 < 0.50"])),
        judge_p_S=np.array([0.875, 0.125]), judge_predicted_S=strings(["mel", "mel"]),
        nearest_train_id_S=strings(["I2", "I1"]), nearest_train_distance_S=np.array([0.25, 0.5]),
        policy="label_consistent", checkpoint="abc", judge_prob_SC=np.array([[0.75, 0.25], [0.5, 0.5]]),
        value_S=np.array([0.25, -1.0]),
    )  # fmt: skip


def training_pool() -> pool.Pool:
    return pool.Pool(
        source=strings(["data", "data", "extra"]), row_N=np.array([0, 1, 0]), image_id=strings(["I1", "I2", "s0"]),
        dx=strings(["mel", "mel", "mel"]), origin=strings(["real", "real", "synthetic"]),
    )  # fmt: skip


def taught_pool() -> pool.Pool:
    label_NC = np.array([[np.nan, np.nan], [np.nan, np.nan], [0.75, 0.25]])
    return replace(training_pool(), label_NC=label_NC, weight_N=np.array([1.0, 1.0, 0.5]))


def pool_facts() -> pool.PoolFacts:
    return pool.PoolFacts(
        arm="hard", n_rows=3, n_real=2, n_synthetic=1, counts={"mel": 3, "nv": 0}, added={"mel": 1, "nv": 0}, short={}
    )  # fmt: skip


def entry() -> RoundEntry:
    figure = {"value": 0.5, "low": 0.25, "high": 0.75}
    return RoundEntry(
        round=1, arm="hard", generator_saw="train", protocol="safe", val={"macro_f1": figure, "n": 4},
        test={"malignant": {"sensitivity": figure}, "per_class": {"mel": {"sensitivity": figure}}}, n_real=2, n_generated=2,
        n_accepted=1, acceptance_rate=0.5, optimizer_steps=30, seconds={"pool": 0.5}, p_value_vs_round0=None,
        digests={"pool": "k"}, pool={"arm": "hard"},
    )  # fmt: skip


def run_report() -> RunReport:
    return RunReport(
        schema_version=2, name="demo", protocol="safe", config_digest="c", split_digest="s", data={"n_images": 3},
        stopping=Stopping(action="stop", reason="done"), champion=None, foundation_seconds={"vae": 1.5}, device="cpu",
        rounds=(RoundEntry(round=0, arm="real"), entry()),
    )  # fmt: skip


def questions() -> asked.Asked:
    return asked.Asked(
        image_id=strings(["U2", "U1"]), value_Q=np.array([0.75, 0.5]), predicted=strings(["mel", "nv"]),
        prob_QC=np.array([[0.75, 0.25], [0.5, 0.5]]), neighbour_ids_QK=strings(["I1", "I2", "I3", ""]).reshape(2, 2),
    )  # fmt: skip


ASKED = asked.AskedFacts(
    classes=("mel", "nv"), policy="margin", wanted=2, unlabelled=3, open=2, left_out={"asked before": 1}
)


def images(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)


def _write_pool(folder: Path) -> None:
    facts = pool_facts().model_copy(update={"classes": ("mel", "nv")})
    pool.write(taught_pool(), images(1, 2, 2, 3), facts, folder)


def _write_challenging(folder: Path) -> None:
    table = challenging.ChallengingImages(
        image_id=IDS, lesion_id=LESIONS, dx=DX, challenging_N=np.array([True, True, False])
    )
    challenging.write(table, challenging.ChallengingFacts(models=3, n_lesions=2, n_challenging=1), folder)


def _write_judge(folder: Path) -> None:
    table = judge.OutOfFold(
        image_id=IDS, fold_N=np.array([0, 0, 1]), label_N=np.array([0, 0, 1]), classes=("mel", "nv"),
        prob_NC=np.array([[0.75, 0.25], [0.5, 0.5], [0.0, 1.0]]),
    )  # fmt: skip
    judge.write(table, folder)
    judge.JudgeFacts(
        model="resnet18", folds=2, classes=("mel", "nv"), oof_accuracy=0.5, oof_recall={"mel": 0.5, "nv": None},
        val_accuracy=None, val_recall={"mel": None, "nv": None}, thresholds={"mel": 0.25, "nv": 0.5}, temperature=1.5,
        val={"n": 2, "nll": {"value": 0.5, "low": 0.25, "high": 0.75}},
    ).write(folder)  # fmt: skip


def _write_split(folder: Path) -> None:
    oracle.write({"I3": "nv"}, folder)
    split.write(split_table(), folder)
    split.SplitFacts(
        counts={"train": {"mel": 2, "nv": 0}, "test": {"mel": 0, "nv": 1}}, grouped_by="lesion", merged_groups=0,
        unused=2, left_out=0, digest="d",
    ).write(folder)  # fmt: skip


def _write_images(folder: Path) -> None:
    lesions.write(lesion_table(), folder)
    duplicates.write(pairs(), folder)
    decoded_images.IMAGES.write(images(3, 2, 2, 3), folder)
    decoded_images.MASKS.write(images(3, 2, 2), folder)
    facts = decoded_images.DataFacts(
        classes=("mel", "nv"), n_images=3, n_lesions=2, counts={"mel": 2, "nv": 1}, grouped_by="lesion",
        masks={"file": 3}, masks_degenerate=0, skipped=({"image_id": "I9", "reason": "truncated"},), image_size=2,
        digest="d",
    )  # fmt: skip
    decoded_images.write(facts, folder)


def _write_index(folder: Path) -> None:
    index.write(index.IndexIds(image_id=IDS, lesion_id=LESIONS, dx=DX), folder)
    index.FUSED.write(np.eye(3), folder)
    index.LEVELS.write(np.zeros((3, 2, 4)), folder)
    index.IndexFacts(n=3, quantiles={"1": 0.125, "50": 0.5}).write(folder)


def _write_generator(folder: Path) -> None:
    generator_parts.LATENTS.write(np.zeros((3, 2, 1, 2, 2)), folder)
    generator_parts.VaeFacts(kind="kl", scaling_factor=0.5, latents_mean=(0.25,), psnr=30.0).write(folder)
    generator_parts.DenoiserFacts(
        scheduler={"beta_schedule": "linear"}, fuse="mean", beta=1.0, val_curve=((10, 0.5),)
    ).write(folder)
    generator_parts.GanFacts(losses=[1.0], classes=("mel",), side=8).write(folder)
    bits = {"value": 3.5, "low": 3.0, "high": 4.0}
    generator_parts.LikelihoodFacts(n=4, part="val", given="the caption", bits_per_dimension=bits).write(
        folder
    )


def _write_synthesized(folder: Path) -> None:
    synthesized.write(images(2, 2, 2, 3), folder)
    synthesized.SynthesisFacts(
        generator="diffusion", nfe=16.0, sampler="dpmpp", steps=16, checkpoint="abc"
    ).write(folder)


def _write_accept(folder: Path) -> None:
    synthetic.write(made(), folder)
    facts = accept.AcceptFacts(
        agreement=0.5, expected_agreement=None, agreement_ratio=None,
        per_class={"mel": accept.ClassYield(generated=1, accepted=1, agreement=1.0, val_recall=0.5),
                   "nv": accept.ClassYield(generated=1, accepted=0, agreement=0.0, val_recall=None)},
        rejected={"judge": 1}, classes=("mel", "nv"),
        memorized=accept.Memorized(count=0, rate=0.0, threshold=0.125, percentile=1),
    )  # fmt: skip
    accept.write(facts, folder)


def _write_features(folder: Path) -> None:
    features.write(np.ones((3, 2)), features.FeatureFacts(name="clip", width=2), folder)


def _write_predict(folder: Path) -> None:
    predictions.write(predicted(), folder)
    Calibration(
        temperature=1.5, malignant=("mel",), threshold=None, specificity=0.9, classes=("nv", "mel"), melanoma="mel",
        melanoma_threshold=0.25, melanoma_sensitivity=0.95,
    ).write(folder)  # fmt: skip


def _write_run(folder: Path) -> None:
    labels.append(folder, [Answer(image_id="I1", reader="ann", dx="mel", at="2026-01-01T00:00:00+00:00")])
    run_report().write(folder)
    entry().write(folder / "rounds" / "0001")
    Checksums(files={"report.json": ("0", "1")}).write(folder)
    RunProgress(stage="vae", what="vae", done=1, total=4, seconds_left=2.5, began=1.0, at=2.0).write(folder)
    Champion(
        round=1, arm="hard", metric="val/macro_f1", value=0.5, low=0.25, high=0.75, classifier="w", after_round=1
    ).write(folder)  # fmt: skip
    study_json.write(
        {"schema_version": 1, "answer": {"verdict": "not shown"}, "protocol": "safe", "design": {"replicates": 1},
         "endpoints": {"malignant": ["mel"]}, "draws": 10, "runs": [{"name": "demo"}], "arms": {},
         "contrasts": [{"figure": "auc", "baseline": "real", "value": 0.25}]},
        folder,
    )  # fmt: skip
    rows = pd.DataFrame({"trial": [1], "status": ["finished"], "round": [0], "value": [0.5], "seconds_run": [2.0],
                         "seconds_found": [1.5]})  # fmt: skip
    tune_json.write(
        {"schema_version": 1, "name": "search", "trials": [{"trial": 1, "value": 0.5}]}, rows, folder
    )


WRITERS: dict[str, Callable[[Path], None]] = {
    "images": _write_images,
    "split": _write_split,
    "embedder": lambda folder: EmbedderFacts(
        pretrained=None, levels=(1, 2), width=4, text=True, tokens="cls", losses=(0.5,)
    ).write(folder),
    "index": _write_index,
    "generator": _write_generator,
    "judge": _write_judge,
    "features": _write_features,
    "challenging": _write_challenging,
    "pool": _write_pool,
    "classifier": lambda folder: FitFacts(losses=(0.5, 0.25), optimizer_steps=2, n_rows=3).write(folder),
    "predict": _write_predict,
    "crossfit": lambda folder: predictions.write(predicted(), folder, schema=predictions.EARLY),
    "mine": lambda folder: hard_cases.write(cases(), folder),
    "condition": lambda folder: (conditioning.write(conditioned(), folder), neighbours.write(retrieved(), folder))[1],
    "synthesize": _write_synthesized,
    "accept": _write_accept,
    "fidelity": lambda folder: Fidelity(
        features="clip", n_synthetic=2, overall={"kid": {"value": 0.5}}, per_class={}
    ).write(folder),
    "ask": lambda folder: asked.write(questions(), ASKED, folder),
    "evaluate": lambda folder: Scores(val={"n": 1}, test={"n": 2}, p_value_vs_round0=0.5).write(folder),
    "manifest": lambda folder: StageManifest(stage="vae", version=3, key="k", seconds=1.5, files={"a": "0"}, sizes={"a": 1})
    .sealed()
    .write(folder),
    "run": _write_run,
}  # fmt: skip


def write_everything(folder: Path) -> dict[str, Path]:
    """Write every example; return {what it is of: its folder}."""
    for name, write in WRITERS.items():
        (folder / name).mkdir(parents=True)
        write(folder / name)
    return {name: folder / name for name in WRITERS}
