"""The word-level tokenizer: ids, unknown words, length, and opening it offline."""

from __future__ import annotations

from transformers import AutoTokenizer, PreTrainedTokenizerFast

from engine.retrieval.tokenizer import SPECIAL, build_tokenizer, encode

CAPTIONS = ["dermoscopy of mel on the back, male", "dermoscopy of nv"]
WORDS = [",", "back", "dermoscopy", "male", "mel", "nv", "of", "on", "the"]


def test_vocabulary_is_the_special_tokens_then_the_sorted_train_words():
    vocabulary = build_tokenizer(CAPTIONS).get_vocab()
    assert vocabulary == {word: index for index, word in enumerate([*SPECIAL, *WORDS])}


def test_vocabulary_does_not_depend_on_the_order_or_number_of_captions():
    assert build_tokenizer(CAPTIONS).get_vocab() == build_tokenizer([*CAPTIONS[::-1], *CAPTIONS]).get_vocab()


def test_encode_wraps_pads_and_marks_unknown_words():
    ids = encode(build_tokenizer(CAPTIONS), ["Dermoscopy of NV", "dermoscopy of vasc, male"])
    assert ids.tolist() == [[2, 6, 10, 9, 3, 0, 0], [2, 6, 10, 1, 4, 7, 3]]


def test_prompts_longer_than_the_longest_caption_and_the_spare_are_cut_and_still_end():
    tokenizer = build_tokenizer(["a b"])
    assert tokenizer.model_max_length == 2 + 2 + 4
    assert encode(tokenizer, ["a " * 30]).tolist() == [[2, 4, 4, 4, 4, 4, 4, 3]]


def test_eos_is_not_2_which_clip_text_models_pool_differently():
    assert build_tokenizer(CAPTIONS).eos_token_id == 3


def test_saved_tokenizer_opens_offline(tmp_path):
    tokenizer = build_tokenizer(CAPTIONS)
    tokenizer.save_pretrained(tmp_path)
    for kind in (AutoTokenizer, PreTrainedTokenizerFast):
        opened = kind.from_pretrained(tmp_path)
        assert opened(CAPTIONS[0])["input_ids"] == tokenizer(CAPTIONS[0])["input_ids"]
        assert opened.model_max_length == tokenizer.model_max_length
        assert opened.pad_token == "<pad>"


def test_no_caption_at_all_gives_a_vocabulary_of_special_tokens():
    assert len(build_tokenizer([])) == 4
