"""Diagnosis names of public skin-lesion data sets: which class a label means, and whether that is malignant.

Sources of the spellings: HAM10000 (Tschandl et al. 2018) and the codes of the ISIC challenges 2016 to 2020; the ISIC archive
(``diagnosis_1`` to ``diagnosis_5``); MILK10k; PAD-UFES-20 (Pacheco et al. 2020); BCN20000 (Combalia et al. 2019); Derm7pt
(Kawahara et al. 2018); Fitzpatrick17k (Groh et al. 2021). A name is compared as a whole, never by a part of it: a label that
is not listed is not recognised, and whoever asks must ask a person. Labels whose nature is undecided (atypical melanocytic
proliferation, indeterminate) are left out on purpose.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_MALIGNANT: Final[Mapping[str, str]] = {
    "mel": "melanoma; malignant melanoma; cutaneous melanoma; melanoma invasive; invasive melanoma; melanoma in "
           "situ; melanoma less than 0 76 mm; melanoma 0 76 to 1 5 mm; melanoma more than 1 5 mm; melanoma "
           "metastasis; metastatic melanoma; lentigo maligna; lentigo maligna melanoma; superficial spreading "
           "melanoma; superficial spreading melanoma ssm; nodular melanoma; acral lentiginous melanoma; "
           "amelanotic melanoma; malignant melanocytic proliferations melanoma",
    "bcc": "basal cell carcinoma; basal cell carcinoma superficial; basal cell carcinoma nodular; basal cell "
           "carcinoma infiltrating; basal cell carcinoma morpheiform; solid cystic basal cell carcinoma; "
           "superficial basal cell carcinoma; nodular basal cell carcinoma; basalioma; basal cell cancer; "
           "malignant adnexal epithelial proliferations follicular",
    "akiec": "ak; ack; actinic keratosis; solar keratosis; solar or actinic keratosis; actinic keratosis "
             "intraepithelial carcinoma; actinic keratosis and intraepithelial carcinoma; actinic keratosis "
             "bowen; porokeratosis actinic; actinic cheilitis; actinic keratosis intraepidermal carcinoma; "
             "indeterminate epidermal proliferations",
    "scc": "squamous cell carcinoma; squamous cell carcinoma invasive; invasive squamous cell carcinoma; squamous "
           "cell cancer; sccka; keratoacanthoma; malignant epidermal; malignant epidermal proliferations",
    "bowen": "bowen; bod; squamous cell carcinoma in situ; squamous cell carcinoma in situ bowen; intraepithelial "
             "carcinoma; intraepidermal carcinoma",
    "mal_oth": "other malignant; malignant other; other malignant proliferations; malignant dermal; malignant "
               "cutaneous lymphoma; merkel cell carcinoma; mcc; kaposi sarcoma; mycosis fungoides; cutaneous t "
               "cell lymphoma; cutaneous lymphoma; dermatofibrosarcoma protuberans; dfsp; angiosarcoma; atypical "
               "fibroxanthoma; mammary paget; extramammary paget; paget; adnexal carcinoma; metastasis",
    "malignant": "maligne; cancer; cancerous; malignancy; malign",
}  # fmt: skip
_BENIGN: Final[Mapping[str, str]] = {
    "nv": "nevus; nev; melanocytic nevus; mole; common nevus; atypical nevus; dysplastic nevus; blue nevus; clark "
          "nevus; combined nevus; congenital nevus; dermal nevus; junctional nevus; compound nevus; recurrent "
          "nevus; reed or spitz nevus; spitz nevus; reed nevus; nevus junctional; nevus compound; nevus dermal; "
          "nevus congenital; nevus combined; nevus spitz; nevus reed; nevus acral; nevus recurrent or persistent; "
          "congenital melanocytic nevus; halo nevus; nevus spilus; benign melanocyte; benign melanocytic "
          "proliferations",
    "bkl": "benign keratosis; benign keratosis like lesion; pigmented benign keratosis; benign epidermal; benign "
           "epidermal proliferations; benign keratinocytic lesion",
    "sk": "sek; seborrheic keratosis; seborrhoeic keratosis; seborrheic wart",
    "lentigo": "lt; lentigo nos; lentigo simplex; solar lentigo; lentigines; ink spot lentigo",
    "lichenoid_keratosis": "lplk; lichenoid keratosis; lichen planus like keratosis",
    "df": "dermatofibroma; benign soft tissue proliferations fibro histiocytic",
    "vasc": "vascular; vascular lesion; vascular lesion hemorrhage; hemangioma; haemangioma; angioma; cherry "
            "angioma; angiokeratoma; pyogenic granuloma; granuloma pyogenic; pyogenic granuloma and hemorrhage; "
            "port wine stain; benign soft tissue proliferations vascular; lymphangioma; hemorrhage",
    "ben_oth": "other benign; benign other; other benign proliferations; benign dermal; melanosis; mls; scar; "
               "verruca; wart; fibroepithelial polyp; acrochordon; skin tag; neurofibroma; angiofibroma; "
               "hidradenoma; sebaceous hyperplasia; cafe au lait macule; epidermal nevus; becker nevus; nevus "
               "sebaceous of jadassohn; nevocytic nevus; keloid; milia; trichilemmal or isthmic catagen or pilar "
               "cyst; mucous cyst; syringoma; xanthoma; epidermal cyst; cyst; lipoma",
    "inf": "inflammatory; infectious; inflammatory and infectious; inflammatory infectious conditions; "
           "inflammatory or infectious diseases; psoriasis; eczema; lichen planus; lichen simplex; lichen "
           "amyloidosis; acne; acne vulgaris; rosacea; folliculitis; scabies; sarcoidosis; granuloma annulare; "
           "allergic contact dermatitis; seborrheic dermatitis; perioral dermatitis; dyshidrotic eczema; "
           "neurodermatitis; prurigo nodularis; urticaria; lupus erythematosus; lupus subacute; dermatomyositis; "
           "scleroderma; morphea; vitiligo; pityriasis rosea; pityriasis rubra pilaris; pityriasis lichenoides "
           "chronica; erythema multiforme; erythema nodosum; erythema annulare centrifugum; erythema elevatum "
           "diutinum; drug eruption; fixed eruptions; photodermatoses; neutrophilic dermatoses; nematode "
           "infection; tick bite; myiasis; tungiasis; lyme; paronychia; stevens johnson syndrome; porphyria; "
           "porokeratosis of mibelli; disseminated actinic porokeratosis; pustular psoriasis; livedo reticularis; "
           "necrobiosis lipoidica; leprosy; calcinosis cutis; hidradenitis; striae; telangiectases; stasis edema",
    "genodermatoses": "genodermatosis; ehlers danlos syndrome; hailey hailey; darier; neurofibromatosis; tuberous "
                      "sclerosis; epidermolysis bullosa; incontinentia pigmenti; ichthyosis vulgaris; xeroderma "
                      "pigmentosum; acrodermatitis enteropathica; langerhans cell histiocytosis; keratosis "
                      "pilaris",
    "non_neoplastic": "non neoplastic; no lesion; normal; healthy; normal skin; healthy skin",
    "benign": "benigne; non malignant; not malignant; noncancerous; non cancerous",
}  # fmt: skip
FULL_NAMES: Final[Mapping[str, str]] = {
    "mel": "melanoma", "bcc": "basal cell carcinoma", "akiec": "actinic keratosis or intraepithelial carcinoma",
    "scc": "squamous cell carcinoma", "bowen": "Bowen's disease", "mal_oth": "another malignancy", "nv": "nevus",
    "bkl": "benign keratosis", "sk": "seborrheic keratosis", "lichenoid_keratosis": "lichenoid keratosis",
    "df": "dermatofibroma", "vasc": "vascular lesion", "ben_oth": "another benign lesion",
    "inf": "inflammatory or infectious disease", "non_neoplastic": "no neoplasm",
}  # fmt: skip
"""Names in full of the classes whose short name is none."""
PREMALIGNANT: Final = frozenset({"akiec"})
UMBRELLAS: Final = frozenset(
    {"mal_oth", "malignant", "ben_oth", "inf", "genodermatoses", "non_neoplastic", "benign"}
)
"""Names for what belongs together by its nature alone: two labels under one of these are two classes."""
PREMALIGNANT_NOTE: Final = "premalignant, counted as malignant"
"""The convention of ``data.malignant``'s default, which holds akiec beside mel and bcc."""
_SPELLINGS: Final = (
    (re.compile(r"\bna?ev(us|i)\b"), "nevus"),
    (re.compile(r"\bkeratoses\b"), "keratosis"),
    (re.compile(r"\bcarcinom(as|ae|ata)\b"), "carcinoma"),
    (re.compile(r"\b(seborrhoeic|seborrhoic)\b"), "seborrheic"),
    (re.compile(r"\b(melanoma|lesion|granuloma|hemangioma|xanthoma|angioma|wart|nevu)s\b(?<!nevus)"), r"\1"),
    (re.compile(r"\bhaem"), "hem"),
    (re.compile(r"\b(bowen|paget|darier)s\b"), r"\1"),
    (re.compile(r"\b(nos|disease|s)\b"), " "),
)
"""One spelling of words that data sets write differently; a lone ``s`` is what an apostrophe leaves of "Bowen's"."""


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What a label means: the class's short name, as HAM10000 and ISIC abbreviate it, and its nature."""

    name: str
    malignant: bool
    premalignant: bool = False

    @property
    def full_name(self) -> str:
        """The class's name for a reader who does not know the abbreviations."""
        return FULL_NAMES.get(self.name, self.name)


def recognise(label: str) -> Diagnosis | None:
    """Return what a label means, whatever its case, hyphens, underscores and usual variants.

    None where it is not known, or where a question mark says that it is in doubt.
    """
    return None if "?" in label else _BY_NAME.get(normalised(label))


def normalised(label: str) -> str:
    """Return a label as lower-case words of letters and digits, each in one spelling."""
    plain = unicodedata.normalize("NFKD", label).encode("ascii", "ignore").decode("ascii")
    words = re.sub(r"[^a-z0-9]+", " ", plain.casefold())
    for pattern, replacement in _SPELLINGS:
        words = pattern.sub(replacement, words)
    return " ".join(words.split())


def _dictionary() -> dict[str, Diagnosis]:
    found: dict[str, Diagnosis] = {}
    for classes, malignant in ((_MALIGNANT, True), (_BENIGN, False)):
        for name, spellings in classes.items():
            diagnosis = Diagnosis(name=name, malignant=malignant, premalignant=name in PREMALIGNANT)
            for spelling in (name, *spellings.split(";")):
                before = found.setdefault(normalised(spelling), diagnosis)
                if before.name != name:
                    raise AssertionError(f"{spelling} means both {before.name} and {name}")
    return found


ORDER: Final = (*_MALIGNANT, *_BENIGN)
"""Names of classes, the malignant ones first: mel, bcc, akiec as ``data.malignant``'s default has them."""
_BY_NAME: Final[Mapping[str, Diagnosis]] = _dictionary()
