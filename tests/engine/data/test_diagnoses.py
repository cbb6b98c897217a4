"""Diagnosis names of public data sets are known in any case and spelling, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data import diagnoses
from engine.data.diagnoses import recognise

KNOWN = {
    "mel": ("MEL", "mel", "Melanoma", "Melanoma, NOS", "Melanoma Invasive", "melanoma (in situ)", "melanoma metastasis",
            "melanoma (0.76 to 1.5 mm)", "malignant melanoma", "superficial spreading melanoma ssm", "lentigo maligna"),
    "bcc": ("BCC", "basal cell carcinoma", "Basal_Cell-Carcinoma", "BASAL  CELL CARCINOMA", "basal cell carcinomas"),
    "akiec": ("AKIEC", "AK", "ACK", "Actinic keratoses", "Solar or actinic keratosis",
              "Actinic keratoses and intraepithelial carcinomae", "Actinic keratoses / Bowen's disease"),
    "scc": ("SCC", "SCCKA", "squamous cell carcinoma", "Squamous cell carcinoma, NOS", "keratoacanthoma"),
    "bowen": ("Bowen's disease", "bowens disease", "Squamous cell carcinoma in situ, Bowens disease"),
    "nv": ("NV", "NEV", "nevus", "naevi", "Melanocytic nevi", "clark nevus", "reed or spitz nevus", "Blue Nevus"),
    "bkl": ("BKL", "benign keratosis-like lesions", "Pigmented benign keratosis"),
    "sk": ("SEK", "seborrheic keratosis", "seborrheic_keratosis", "seborrhoeic keratoses"),
    "df": ("DF", "Dermatofibroma"),
    "vasc": ("VASC", "vascular lesion", "Hemangioma", "haemangioma", "pyogenic granulomas and hemorrhage"),
    "mal_oth": ("MAL_OTH", "kaposi sarcoma", "mycosis fungoides", "malignant cutaneous lymphoma", "malignant dermal"),
    "ben_oth": ("BEN_OTH", "benign dermal", "cafe-au-lait macule", "Café-au-lait macule"),
    "inf": ("INF", "inflammatory", "psoriasis"),
    "non_neoplastic": ("non-neoplastic",),
    "malignant": ("malignant", "Malignant"),
    "benign": ("benign", "BENIGN"),
}  # fmt: skip
MALIGNANT = {"mel", "bcc", "akiec", "scc", "bowen", "mal_oth", "malignant"}


@pytest.mark.parametrize(
    ("name", "label"), [(name, label) for name, labels in KNOWN.items() for label in labels]
)
def test_public_names_are_known_with_their_nature(name: str, label: str) -> None:
    found = recognise(label)
    assert found is not None
    assert (found.name, found.malignant) == (name, name in MALIGNANT)
    assert found.premalignant == (name == "akiec")


UNKNOWN = ("", "0", "1", "0.0", "A", "B", "unknown", "UNK", "AIMP", "atypical melanocytic proliferation", "indeterminate",
           "melanoma?", "not melanoma", "no melanoma", "imgs_part_1", "class")  # fmt: skip


@pytest.mark.parametrize("label", UNKNOWN)
def test_what_is_not_listed_or_undecided_is_not_recognised(label: str) -> None:
    assert recognise(label) is None


SPELLINGS = [label for labels in KNOWN.values() for label in labels]


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(SPELLINGS), st.sampled_from([str.upper, str.lower, str.title]), st.sampled_from("_- .")
)
def test_case_and_separators_do_not_matter(label: str, case: Callable[[str], str], sign: str) -> None:
    varied = f" {case(label).replace(' ', sign)} "
    assert recognise(varied) == recognise(label)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=30))
def test_any_text_is_answered_and_its_normal_form_is_stable(text: str) -> None:
    once = diagnoses.normalised(text)
    assert diagnoses.normalised(once) == once
    assert recognise(text) == (None if "?" in text else recognise(once))
