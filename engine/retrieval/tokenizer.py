"""The word-level tokenizer of the small CLIP: one id a word of the train captions, saved in Hugging Face layout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

SPECIAL: Final = ("<pad>", "<unk>", "<bos>", "<eos>")
"""Ids 0 to 3. ``<eos>`` must not be 2: CLIPTextModel reads that id as an old, differently pooled checkpoint."""
SPARE: Final = 4
"""Tokens a prompt may be longer than the longest train caption; beyond that it is cut."""


def build_tokenizer(captions: Sequence[str]) -> PreTrainedTokenizerFast:
    """Return a tokenizer whose vocabulary is the words of ``captions``, sorted; other words become ``<unk>``.

    Text is lower-cased and split at white space and punctuation, and wrapped in ``<bos>`` ... ``<eos>``. Give
    captions of train lesions only: a word seen nowhere else would otherwise leak through the vocabulary.
    ``model_max_length`` is the longest caption's plus SPARE: what the text tower needs positions for.
    """
    normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    splitter = pre_tokenizers.Whitespace()
    texts = {normalizer.normalize_str(caption) for caption in captions}
    split = [[word for word, _ in splitter.pre_tokenize_str(text)] for text in sorted(texts)]
    words = {word for text in split for word in text}
    vocabulary = {word: index for index, word in enumerate([*SPECIAL, *sorted(words - set(SPECIAL))])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = splitter
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>",
        special_tokens=[("<bos>", vocabulary["<bos>"]), ("<eos>", vocabulary["<eos>"])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        pad_token="<pad>",
        model_max_length=2 + max((len(text) for text in split), default=0) + SPARE,
    )


def encode(tokenizer: Any, captions: Sequence[str]) -> Any:
    """Return token ids (N, longest caption) int64, padded on the right; too long captions are cut."""
    return tokenizer(list(captions), padding=True, truncation=True, return_tensors="pt")["input_ids"]
