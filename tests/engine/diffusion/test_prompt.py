"""Prompt states: fixed length, independent of company, from CLIP or Stable Diffusion layouts."""

import numpy as np
import pytest
import torch
from transformers import CLIPTextModel

from engine.diffusion.prompt import EMPTY, load_prompt_encoder
from engine.errors import ConfigError
from tests.fakes_diffusion import LENGTH, WIDTH, make_clip, tiny_tokenizer

TEXTS = ["dermoscopy of mel", "dermoscopy of nv, male", "dermoscopy of bkl on the back"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    make_clip(folder, TEXTS)
    return folder


def test_shape_and_difference(clip):
    encoder = load_prompt_encoder(clip, None)
    states = encoder.encode([*TEXTS, EMPTY])
    assert states.shape == (4, LENGTH, WIDTH)
    assert (encoder.width, encoder.length) == (WIDTH, LENGTH)
    assert not torch.allclose(states[0], states[1])
    assert not torch.allclose(states[0], states[3])


def test_states_are_the_text_towers_last_hidden_states(clip):
    from transformers import AutoTokenizer

    tower = CLIPTextModel.from_pretrained(clip).eval()
    tokens = AutoTokenizer.from_pretrained(clip)(
        TEXTS[:1], padding="max_length", max_length=LENGTH, return_tensors="pt"
    )
    with torch.no_grad():
        expected = tower(tokens["input_ids"]).last_hidden_state
    assert torch.allclose(load_prompt_encoder(clip, None).encode(TEXTS[:1]), expected, atol=1e-5)


def test_a_state_does_not_depend_on_the_other_prompts(clip):
    encoder = load_prompt_encoder(clip, None)
    many = encoder.encode(TEXTS * 12)
    assert many.shape[0] == 36
    assert torch.equal(many[34], encoder.encode([TEXTS[1]])[0])


def test_unique_prompts_are_encoded_once(clip):
    encoder = load_prompt_encoder(clip, None)
    states, place = encoder.encode_unique([TEXTS[1], TEXTS[0], TEXTS[1]])
    assert len(states) == 2
    assert place.tolist() == [1, 0, 1]  # sorted: mel, nv
    assert torch.equal(states[1], encoder.encode([TEXTS[1]])[0])
    assert place.dtype == np.int64


def test_a_long_prompt_is_cut(clip):
    assert load_prompt_encoder(clip, None).encode(["mel " * 50]).shape == (1, LENGTH, WIDTH)


def test_stable_diffusion_layout(clip, tmp_path):
    CLIPTextModel.from_pretrained(clip).save_pretrained(tmp_path / "text_encoder")
    tiny_tokenizer(TEXTS).save_pretrained(tmp_path / "tokenizer")
    encoder = load_prompt_encoder(tmp_path / "absent", str(tmp_path))
    assert torch.allclose(encoder.encode(TEXTS), load_prompt_encoder(clip, None).encode(TEXTS), atol=1e-5)


def test_missing_text_encoder_names_the_field(tmp_path):
    with pytest.raises(ConfigError, match=r"denoiser\.pretrained: no text_encoder"):
        load_prompt_encoder(tmp_path, str(tmp_path))
