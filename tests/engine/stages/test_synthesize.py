"""Stage synthesize: files, the same bytes whoever makes them, parents and prompts, nothing to do."""

import json
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image

from engine.classifier.model import build_model
from engine.classifier.weights import describe, open_logits, save_classifier
from engine.config import Config
from engine.diffusion.codec import LatentCodec, images_to_tensor
from engine.diffusion.steering import hardness
from engine.diffusion.synthesis import Synthesized, weights_digest
from engine.parts import sample_pictures
from engine.parts.dataset import open_dataset
from engine.stages import preview, synthesize
from engine.types import strings
from tests.fakes import run_stage
from tests.fakes_diffusion import run_foundation, tiny


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return run_foundation(tmp_path_factory.mktemp("foundation"))


def run(folder, inputs, map=None, **settings):
    extra = {} if map is None else {"map": map}
    run_stage(synthesize, folder, inputs, synthesize.Params.of(tiny(synthesis=settings)), **extra)
    return np.load(folder / "images.npy")


def actors(count):
    """Stand for actors: each loads the worker anew and takes every ``count``-th chunk; results in order."""

    def apply(worker, chunks, what):
        functions = [worker.load() for _ in range(count)]
        results = {i: functions[i % count](chunk) for i, chunk in reversed(list(enumerate(chunks)))}
        return iter(results[i] for i in range(len(chunks)))

    return apply


def test_how_images_are_taught_makes_none_again():
    taught = {"labels": "soft", "label_temperature": 2.0, "label_share": 0.5, "weight": 0.5}
    plain, other = (synthesize.Params.of(tiny(synthesis=section)).to_json() for section in ({}, taught))
    assert plain == other
    assert not set(taught) & set(plain["synthesis"])


@pytest.mark.slow
def test_files(tmp_path, inputs):
    images = run(tmp_path / "s", inputs)
    assert images.shape == (6, 16, 16, 3)
    assert images.dtype == np.uint8
    names = sorted(p.name for p in (tmp_path / "s" / "synthetic").iterdir())
    assert names == [f"s{i}.png" for i in range(6)]
    for i in range(6):
        assert np.array_equal(np.asarray(Image.open(tmp_path / "s" / "synthetic" / f"s{i}.png")), images[i])
    info = json.loads((tmp_path / "s" / "synthesis.json").read_text())
    assert info["nfe"] == 8  # 4 steps, guided
    assert info["checkpoint"] == weights_digest(inputs["denoiser"])


def test_bytes_are_the_same_in_any_process_layout(tmp_path, inputs):
    one, three = run(tmp_path / "one", inputs), run(tmp_path / "three", inputs, map=actors(3))
    assert np.array_equal(one, three)
    for path in (tmp_path / "one" / "synthetic").iterdir():
        assert path.read_bytes() == (tmp_path / "three" / "synthetic" / path.name).read_bytes()


def test_memory_does_not_grow_with_the_round(tmp_path, inputs, monkeypatch):
    """800 images of 128 px are 39 MB, and a chunk of 32 is 1.6 MB."""
    count, side = 800, 128
    samples = SimpleNamespace(
        sample_id=strings([f"s{n}" for n in range(count)]), difficulty_S=np.full(count, np.nan)
    )
    monkeypatch.setattr(synthesize.conditioning, "read_samples", lambda folder: samples)
    monkeypatch.setattr(sample_pictures, "save_png", lambda image, path: None)

    def made(worker, chunks, what):
        for chunk in chunks:
            yield Synthesized(
                images_BHWC=np.full((len(chunk), side, side, 3), chunk[0] % 251, np.uint8), evaluations=1
            )

    tracemalloc.start()
    params = synthesize.Params.of(tiny(synthesis={"batch_size": 32}))
    run_stage(synthesize, tmp_path / "s", inputs, params, map=made)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    images = np.load(tmp_path / "s" / "images.npy")
    assert images.shape == (count, side, side, 3) and images[33].max() == 32
    assert peak < images.nbytes / 4


def test_many_pictures_are_written_by_the_workers_of_a_map_and_none_is_left_out(
    tmp_path, inputs, monkeypatch
):
    """An attempt that goes on behind kept chunks has a folder of its own, in which their files are not."""
    whole = run(tmp_path / "whole", inputs)
    monkeypatch.setattr(sample_pictures, "MANY", 2)
    monkeypatch.setattr(sample_pictures, "CHUNK", 2)
    asked = []

    def skips_the_first(worker, chunks, what):
        if what == "pictures":
            asked.append(len(chunks))
            chunks = chunks[1:]
        return map(worker.load(), chunks)

    again = run(tmp_path / "again", inputs, map=skips_the_first)
    assert asked == [3] and np.array_equal(whole, again)
    pictures = [sorted((tmp_path / name / "synthetic").iterdir()) for name in ("whole", "again")]
    assert [p.name for p in pictures[0]] == [p.name for p in pictures[1]] and len(pictures[1]) == 6
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(*pictures, strict=True))


def conditioned(folder, inputs, frame, levels):
    folder.mkdir()
    frame.to_parquet(folder / "conditioning.parquet")
    np.save(folder / "levels.npy", levels)
    return inputs | {"condition": folder}


def test_a_sample_does_not_depend_on_the_others(tmp_path, inputs):
    frame = pd.read_parquet(inputs["condition"] / "conditioning.parquet")
    levels = np.load(inputs["condition"] / "levels.npy")
    order = [5, 2]
    fewer = conditioned(tmp_path / "few", inputs, frame.iloc[order], levels[order])
    whole = run(tmp_path / "whole", inputs)
    assert np.array_equal(run(tmp_path / "part", fewer), whole[order])


@pytest.mark.slow
@pytest.mark.parametrize("column", ["dx", "parent_image_id", "seed"])
def test_class_parent_and_seed_reach_the_image(tmp_path, inputs, column):
    frame = pd.read_parquet(inputs["condition"] / "conditioning.parquet")
    levels = np.load(inputs["condition"] / "levels.npy")
    changed = frame.copy()
    changed[column] = {"dx": "nv", "parent_image_id": frame["parent_image_id"][1], "seed": 99}[column]
    other = conditioned(tmp_path / "other", inputs, changed, levels)
    settings = {"strength": 0.5} if column == "parent_image_id" else {"guidance_scale": 8.0}
    first, second = run(tmp_path / "a", inputs, **settings), run(tmp_path / "b", other, **settings)
    assert not np.array_equal(first[0], second[0])


def test_beta_of_the_config_overrides_the_denoisers(tmp_path, inputs):
    frame = pd.read_parquet(inputs["condition"] / "conditioning.parquet")
    levels = np.load(inputs["condition"] / "levels.npy")
    other = conditioned(tmp_path / "other", inputs, frame, -10 * levels)
    silent = [run(tmp_path / name, given, beta=0.0) for name, given in (("a", inputs), ("b", other))]
    assert np.array_equal(*silent)


def test_nothing_to_synthesize(tmp_path, inputs):
    frame = pd.read_parquet(inputs["condition"] / "conditioning.parquet").iloc[:0]
    empty = conditioned(tmp_path / "empty", inputs, frame, np.zeros((0, 2, 16), dtype=np.float32))
    assert run(tmp_path / "s", empty).shape == (0, 16, 16, 3)
    assert list((tmp_path / "s" / "synthetic").iterdir()) == []


def test_preview_draws_the_sheet(tmp_path, inputs):
    run(tmp_path / "s", inputs)
    params = preview.Params.of(tiny())
    run_stage(preview, tmp_path / "with", inputs | {"synthesize": tmp_path / "s"}, params)
    run_stage(preview, tmp_path / "without", {k: v for k, v in inputs.items() if k != "condition"}, params)
    sizes = [Image.open(tmp_path / name / "contact_sheet.png").size for name in ("with", "without")]
    assert sizes[0][0] > sizes[1][0]
    assert sizes[0][1] == sizes[1][1]


def test_a_class_in_the_sheet_costs_no_chunk_of_its_own(tmp_path, inputs, monkeypatch):
    passes = []
    decode = LatentCodec.decode

    def counted(codec, latents):
        passes.append(len(latents))
        return decode(codec, latents)

    monkeypatch.setattr(LatentCodec, "decode", counted)
    shown = {k: inputs[k] for k in ("images", "split", "vae")}
    run_stage(preview, tmp_path / "sheet", shown, preview.Params.of(Config()))
    dataset = open_dataset(inputs["images"], inputs["split"])
    dx = dataset.table.dx[dataset.where("train")].tolist()
    assert passes == [sum(min(dx.count(name), preview.SHOWN) for name in dataset.classes)]


@pytest.mark.parametrize(("batch_size", "chunk"), [(4, 4), (1, 1), (40, 32)])
def test_images_are_decoded_in_chunks_of_a_batch(tmp_path, inputs, monkeypatch, batch_size, chunk):
    seen = []
    decode = AutoencoderKL.decode
    monkeypatch.setattr(AutoencoderKL, "decode", lambda vae, z: seen.append(len(z)) or decode(vae, z))
    run(tmp_path / "s", inputs, batch_size=batch_size, steps=2)
    assert seen == [chunk] * {4: 2, 1: 6, 40: 2}[batch_size]


@pytest.fixture(scope="module")
def guides(tmp_path_factory):
    """Two unlike classifiers in the layouts of the stages judge and classifier."""
    folders = {}
    for role, name, model in (
        ("judge", "fold_0", "test_resnet"),
        ("classifier", "classifier", "mobilenetv3_small_050"),
    ):
        folders[role] = tmp_path_factory.mktemp(role)
        meta = describe(model, ("bkl", "mel", "nv"), 16, False, None)
        save_classifier(build_model(model, 3, 16), meta, folders[role] / f"{name}.safetensors")
    return folders


@pytest.mark.slow
def test_gradients_of_judge_and_classifier_reach_the_images(tmp_path, inputs, guides):
    plain = run(tmp_path / "plain", inputs | guides)
    pulled = run(tmp_path / "pulled", inputs | guides, classifier_scale=20.0)
    pushed = run(tmp_path / "pushed", inputs | guides, adversarial_scale=20.0, gradient_bound=1.0)
    assert not np.array_equal(plain, pulled)
    assert not np.array_equal(plain, pushed)
    assert not np.array_equal(pulled, pushed)
    assert np.array_equal(run(tmp_path / "off", inputs | guides, adversarial_scale=0.0), plain)


@pytest.mark.slow
def test_adversarial_guidance_makes_harder_images(tmp_path, inputs, guides):
    """The classifier's loss on the images rises, as asked for (no judge in the way, margin as the objective)."""
    settings = {"adversarial_objective": "margin", "adversarial_keep": 0.0, "gradient_interval": (0.0, 1.0)}
    plain = run(tmp_path / "plain", inputs | guides)
    pushed = run(tmp_path / "pushed", inputs | guides, adversarial_scale=50.0, gradient_bound=1.0, **settings)
    logits, classes = open_logits(guides["classifier"] / "classifier.safetensors", "cpu")
    dx = pd.read_parquet(inputs["condition"] / "conditioning.parquet")["dx"]
    label = torch.tensor([classes.index(name) for name in dx])
    hard = [hardness(logits(images_to_tensor(x)), label, "margin").mean().item() for x in (plain, pushed)]
    assert hard[1] > hard[0]


def test_states_are_drawn_when_asked_for(tmp_path, inputs):
    run(tmp_path / "s", inputs, states=3)
    assert Image.open(tmp_path / "s" / "states.png").size[0] > 3 * 72
    run(tmp_path / "without", inputs)
    assert not (tmp_path / "without" / "states.png").exists()
    assert np.array_equal(
        np.load(tmp_path / "s" / "images.npy"), np.load(tmp_path / "without" / "images.npy")
    )


def test_parents_may_be_moved_toward_skin(tmp_path, inputs):
    near = {"strength": 0.1, "guidance_scale": 1.0}
    plain = run(tmp_path / "plain", inputs, **near).astype(float)
    moved = run(tmp_path / "moved", inputs, **near, skin_share=1.0).astype(float)
    frame = pd.read_parquet(inputs["condition"] / "conditioning.parquet")
    dataset = open_dataset(inputs["images"], inputs["split"])
    rows = dataset.rows[dataset.positions(strings(frame["parent_image_id"].tolist()))]
    inside = np.asarray(dataset.masks_NHW[rows]) > 0
    change = np.abs(moved - plain).mean(axis=3)
    assert change[inside].mean() > change[~inside].mean()


def test_each_sample_has_the_strength_of_its_parents_difficulty(tmp_path, inputs):
    frame = pd.read_parquet(inputs["condition"] / "conditioning.parquet")
    levels = np.load(inputs["condition"] / "levels.npy")
    difficulty = np.array([1.0, 0.0, 0.5, 1.0, 0.3, 0.0] * len(frame))[: len(frame)]
    given = conditioned(tmp_path / "ranked", inputs, frame.assign(difficulty=difficulty), levels)
    ranged = run(tmp_path / "ranged", given, strength={"easiest": 0.7, "hardest": 0.1})
    for strength, among in ((0.7, difficulty == 0.0), (0.1, difficulty == 1.0)):
        alone = run(tmp_path / f"s{strength}", given, strength=strength)
        assert np.array_equal(ranged[among], alone[among])
    assert synthesize.batches(np.array([0.1, 0.7, 0.1, 0.1]), 2)[0].tolist() == [1]
    assert [b.tolist() for b in synthesize.batches(np.array([0.1, 0.7, 0.1, 0.1]), 2)] == [[1], [0, 2], [3]]


def test_a_range_of_strengths_has_four_steps():
    section = tiny(synthesis={"strength": {"easiest": 0.7, "hardest": 0.1}}).synthesis
    found = [section.strength_at(d) for d in (0.0, 0.1, 0.3, 0.7, 1.0)]
    assert found == pytest.approx([0.7, 0.7, 0.5, 0.3, 0.1])
    assert section.edits and tiny(synthesis={"strength": 0.5}).synthesis.edits and not tiny().synthesis.edits
