"""Stage distill: files and facts, resume, blindness to held-out lesions, and the keys that it leaves as they are."""

import json

import pytest

from engine.errors import StageError
from engine.stages import denoiser, distill, synthesize
from tests.fakes import kill_at_5, run_stage
from tests.fakes_diffusion import denoiser_weights, run_foundation, tiny, with_other_held_out_latents

TAUGHT = {"steps": 2, "train_steps": 6}


def taught(**changes):
    return tiny(**{**changes, "denoiser": {"distill": TAUGHT, **changes.get("denoiser", {})}})


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return run_foundation(tmp_path_factory.mktemp("foundation"))


def run(folder, inputs, config=None, **context):
    run_stage(distill, folder, inputs, distill.Params.of(config or taught()), **context)
    return json.loads((folder / "denoiser.json").read_text())


def test_files_and_facts(tmp_path, inputs):
    info = run(tmp_path / "d", inputs)
    assert sorted(p.name for p in (tmp_path / "d").iterdir()) == [
        "adapter.safetensors",
        "denoiser.json",
        "unet",
    ]
    assert (info["few_steps"], info["visited"]) == (2, [500, 999])
    assert len(info["losses"]) == 6
    teacher = json.loads((inputs["denoiser"] / "denoiser.json").read_text())
    assert all(info[name] == teacher[name] for name in ("scheduler", "fuse", "beta", "parameters"))
    assert 0 < info["distance"] < 10
    assert info["distance"] != info["distance_teacher"]
    assert denoiser_weights(tmp_path / "d") != denoiser_weights(inputs["denoiser"])


def test_resume_after_a_kill_gives_the_same_bytes(tmp_path, inputs):
    config = taught(denoiser={"checkpoint_every": 2})
    run(tmp_path / "whole", inputs, config)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", inputs, config, launch=kill_at_5, checkpoint=tmp_path / "kept")
    run(tmp_path / "again", inputs, config, checkpoint=tmp_path / "kept")
    assert denoiser_weights(tmp_path / "again") == denoiser_weights(tmp_path / "whole")
    assert (tmp_path / "again/denoiser.json").read_bytes() == (tmp_path / "whole/denoiser.json").read_bytes()


def test_held_out_lesions_are_not_learned_from(tmp_path, inputs):
    run(tmp_path / "before", inputs)
    changed = with_other_held_out_latents(tmp_path / "latents", inputs)
    run(tmp_path / "after", changed)
    assert denoiser_weights(tmp_path / "before") == denoiser_weights(tmp_path / "after")


def test_strengths_of_edits_are_taught_and_no_others(tmp_path, inputs):
    config = taught(synthesis={"strength": {"easiest": 0.7, "hardest": 0.3}})
    assert run(tmp_path / "d", inputs, config)["visited"] == [300, 433, 500, 566, 699]
    from engine.diffusion.synthesis import sampler_of
    from engine.parts.generators.diffusion import open_synthesizer

    opened = open_synthesizer({**inputs, "distill": tmp_path / "d"}, config.synthesis, None, "cpu")
    edit = config.synthesis.model_copy(update={"strength": 0.3})
    sampler_of(edit, opened.scheduler_config, opened.student)
    other = config.synthesis.model_copy(update={"strength": 0.5})
    sampler_of(
        other, opened.scheduler_config, opened.student
    )  # starts at the end of a segment, which is taught
    unknown = config.synthesis.model_copy(update={"strength": 0.6})
    with pytest.raises(
        StageError, match=r"was not taught synthesis\.strength 0\.6; run stage distill with it"
    ):
        sampler_of(unknown, opened.scheduler_config, opened.student)


def test_the_denoiser_is_not_trained_again_for_a_student():
    assert denoiser.Params.of(taught()).to_json() == denoiser.Params.of(tiny()).to_json()


def test_a_student_makes_other_images_and_without_one_nothing_changes():
    plain, other = (synthesize.Params.of(config) for config in (tiny(), taught()))
    assert "distill" not in plain.to_json()["denoiser"]
    assert plain.to_json() != other.to_json()
    assert plain.parts == ("vae", "denoiser", "embedder")
    assert other.parts == ("vae", "distill", "embedder")
    assert (plain.few_steps, other.few_steps) == (None, 2)


def test_arms_of_other_generators_know_no_student():
    assert synthesize.Params.of(taught(), "dcgan").few_steps is None


def test_another_guidance_or_strength_is_another_student():
    keys = [
        distill.Params.of(taught(synthesis=section)).to_json()
        for section in ({}, {"guidance_scale": 3.0}, {"strength": 0.5}, {"guidance_interval": [0.1, 0.9]})
    ]
    assert all(a != b for k, a in enumerate(keys) for b in keys[:k])
    same = distill.Params.of(taught(synthesis={"steps": 50, "sampler": "ddim", "labels": "soft"})).to_json()
    assert same == keys[0], "the sampler of the denoiser is none of the student's business"
