"""Whole runs: every arm on phantoms, and the quick HAM10000 config shrunk until it fits into CI."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from engine import build
from engine.artifacts.synthesized import read_facts
from engine.commands.synthesize_command import synthesize
from tests.integration.contract import assert_contract
from tests.integration.tiny import tiny_config

ARMS = {"real", "classical", "mined", "retrieved", "random", "dcgan", "hard", "all_real"}
QUICK = Path(__file__).parents[2] / "experiments" / "configs" / "ham10000_64_quick.yaml"
SHRUNK = [
    "data.limit=140", "embedder.steps=4", "embedder.batch_size=16", "vae.batch_size=4", "denoiser.batch_size=8",
    "classifier.batch_size=16", "judge.batch_size=16", "vae.steps=4", "denoiser.steps=4", "judge.steps=4",
    "classifier.steps=6", "classifier.round_steps=3", "loop.budget=14", "synthesis.steps=3", "evaluation.bootstrap=100",
    "classifier.model=test_resnet", "classifier.small_stem=false", "judge.model=test_efficientnet",
    "policy.mining={name: margin}", "backend.threads=1", "tracking.kind=none",
    "embedder.width=32", "embedder.text_layers=1", "vae.widths=[8, 8, 16]", "denoiser.widths=[16, 16, 32]",
    "denoiser.head_dim=8",
]  # fmt: skip


@pytest.mark.slow
def test_every_arm_on_phantoms(output: Path) -> None:
    gan = {"steps": 4, "batch_size": 8, "width": 8}
    loop = {"rounds": 1, "arms": sorted(ARMS)}
    config = tiny_config(str(output), name="every_arm", loop=loop, gan=gan)
    folder, _ = build.run(config)
    report = assert_contract(folder.path, 1, ARMS)
    pools = {r["arm"]: r["pool"] for r in report["rounds"] if r["round"] == 1}
    split = pd.read_parquet(folder.path / "split.parquet")
    n_train, n_mine = (int((split["split"] == part).sum()) for part in ("train", "mine"))
    accepted = next(r["n_accepted"] for r in report["rounds"] if (r["round"], r["arm"]) == (1, "hard"))
    assert pools["real"]["n_rows"] == n_train
    assert pools["all_real"]["n_rows"] == n_train + n_mine
    assert pools["hard"]["n_synthetic"] == accepted == 20  # acceptance: all
    for arm in ("classical", "mined", "retrieved", "random"):
        short = sum(pools[arm].get("short", {}).values())
        assert pools[arm]["n_rows"] == n_train + accepted - short
    assert {r["optimizer_steps"] for r in report["rounds"] if r["round"] == 1} == {15}


@pytest.mark.slow
@pytest.mark.parametrize("generator", ["dcgan", "classical", "retrieved"])
def test_other_generators_take_the_place_of_diffusion(output: Path, tmp_path: Path, generator: str) -> None:
    gan = {"width": 8, "latent": 8, "steps": 4, "batch_size": 8}
    config = tiny_config(
        str(output), name=generator, synthesis={"generator": generator}, gan=gan, loop={"rounds": 1}
    )
    folder, report = build.run(config)
    assert_contract(folder.path, 1, {"real", "hard"})
    assert ("gan" in report["foundation_seconds"]) == (generator == "dcgan")
    assert "denoiser" not in report["foundation_seconds"]
    frame = synthesize(folder.path, "mel", 3, tmp_path / "more", Console(quiet=True))
    assert len(frame) == 3


@pytest.mark.slow
def test_a_student_samples_in_the_denoisers_place(output: Path, tmp_path: Path) -> None:
    """In two evaluations from noise, in one for the mildest edits; the denoiser itself is the cached one."""
    settings = {"rounds": 1, "arms": ["real", "random", "hard"]}
    denoiser = tiny_config(str(output)).denoiser.model_dump()
    taught = {**denoiser, "distill": {"steps": 2, "train_steps": 4}}
    runs = []
    for name, synthesis in (("whole", {}), ("edits", {"strength": {"easiest": 0.9, "hardest": 0.2}})):
        config = tiny_config(
            str(output),
            name=f"student_{name}",
            loop=settings,
            denoiser=taught,
            synthesis={"steps": 3, **synthesis},
        )
        folder, report = build.run(config)
        assert_contract(folder.path, 1, {"real", "random", "hard"})
        assert "distill" in report["foundation_seconds"]
        facts = [read_facts(folder.stage(f"rounds/0001/{arm}/synthesize").path) for arm in ("random", "hard")]
        assert {(each.sampler, each.steps) for each in facts} == {("few_step", 2)}
        runs.append((folder, facts))
    (whole, facts), (_, edited) = runs
    assert [each.nfe for each in facts] == [2, 2]
    assert all(each.nfe is not None and 1 < each.nfe < 2 for each in edited)
    plain, _ = build.run(tiny_config(str(output), name="student_none", loop=settings))
    keys = {
        role: [run.stage(f"foundation/{role}").key for run in (plain, whole)]
        for role in ("denoiser", "judge")
    }
    assert all(first == second for first, second in keys.values())
    assert len(synthesize(whole.path, "mel", 3, tmp_path / "more", Console(quiet=True))) == 3


@pytest.mark.slow
def test_adversarial_guidance_in_the_loop(output: Path) -> None:
    """Hard cases are made against the classifier, random ones are not; the guiding fold does not judge them."""
    guided = {"adversarial_scale": 2.0, "gradient_interval": [0.0, 1.0]}
    runs = {}
    for name, settings in (("plain", {"steps": 3}), ("guided", {"steps": 3, **guided})):
        config = tiny_config(
            str(output),
            name=f"adversarial_{name}",
            synthesis=settings,
            loop={"rounds": 1, "arms": ["real", "random", "hard"]},
        )
        folder, _ = build.run(config)
        assert_contract(folder.path, 1, {"real", "random", "hard"})
        runs[name] = folder
    synthetic = {n: pd.read_parquet(f.path / "rounds/0001/synthetic.parquet") for n, f in runs.items()}
    assert (synthetic["plain"]["parent_image_id"] == synthetic["guided"]["parent_image_id"]).all()
    assert (synthetic["plain"]["judge_p"] != synthetic["guided"]["judge_p"]).any()
    random = {n: f.stage("rounds/0001/random/synthesize").key for n, f in runs.items()}
    hard = {n: f.stage("rounds/0001/hard/synthesize").key for n, f in runs.items()}
    assert hard["plain"] != hard["guided"]
    images = {
        n: (f.stage("rounds/0001/random/synthesize").path / "images.npy").read_bytes()
        for n, f in runs.items()
    }
    assert images["plain"] == images["guided"], random


@pytest.mark.slow
def test_how_added_images_are_mixed_in_changes_the_arms_that_add_some_and_no_other(output: Path) -> None:
    mix = {"share": 0.5, "finish_on_real": 2, "split_batchnorm": True}
    predictions = {}
    for name, more in (("plain", {}), ("mixed", {"mix": mix})):
        loop = {"rounds": 1, "arms": ["real", "classical", "hard"]}
        folder, _ = build.run(tiny_config(str(output), name=f"mix_{name}", loop=loop, classifier=more))
        for arm in loop["arms"]:
            table = folder.arm_folder(1, arm) / "predictions.parquet"
            predictions[name, arm] = pd.read_parquet(table).filter(like="p_").to_numpy()
    assert (predictions["plain", "real"] == predictions["mixed", "real"]).all()
    assert (predictions["plain", "classical"] != predictions["mixed", "classical"]).any()
    assert (predictions["plain", "hard"] != predictions["mixed", "hard"]).any()


@pytest.mark.slow
def test_a_reviewed_run_waits_for_a_person_and_trains_on_what_was_approved(output: Path) -> None:
    config = tiny_config(
        str(output),
        name="reviewed",
        loop={"rounds": 1, "arms": ["real", "random", "hard"]},
        policy={"acceptance": {"name": "reviewed"}},
    )
    folder, report = build.run(config)
    assert report["stopping"]["action"] == "review"
    assert [r["round"] for r in report["rounds"]] == [0]
    sheet = folder.path / "rounds" / "0001" / "review.csv"
    assert sheet.with_suffix(".png").exists()
    verdicts = pd.read_csv(sheet).assign(verdict=["accept", "reject"] * 10)
    verdicts.to_csv(sheet, index=False)
    folder, report = build.run(config)
    assert report["stopping"]["action"] == "review"  # now the random arm's images
    other = folder.path / "rounds" / "0001" / "arms" / "random" / "review.csv"
    pd.read_csv(other).assign(verdict="accept").to_csv(other, index=False)
    folder, report = build.run(config)
    assert report["stopping"]["action"] == "stop"
    assert_contract(folder.path, 1, {"real", "random", "hard"})
    counts = {r["arm"]: r["n_accepted"] for r in report["rounds"] if r["round"] == 1}
    assert (counts["hard"], counts["random"]) == (10, 20)
    accepted = pd.read_parquet(folder.path / "rounds" / "0001" / "synthetic.parquet")
    approved = set(verdicts["image"][verdicts["verdict"] == "accept"])
    assert set(accepted["sample_id"][accepted["accepted"]]) == approved


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.skipif("HARDCASE_DATA" not in os.environ, reason="HARDCASE_DATA names no folder of real data")
def test_the_quick_run_on_real_lesions(tmp_path: Path) -> None:
    root = Path(os.environ["HARDCASE_DATA"]) / "ham10000"
    config = build.load(QUICK, [f"data.root={root}", f"output={tmp_path}", *SHRUNK])
    folder, _ = build.run(config)
    report = assert_contract(folder.path, 1, {"real", "hard"})
    assert report["protocol"] == "safe"
    assert report["data"]["grouped_by"] == "lesion"
    assert set(report["data"]["counts"]["train"]) == {"akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"}
