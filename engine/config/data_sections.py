"""The ``data`` section: where images come from, how they are cut and split."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from engine.config.places import Place
from engine.config.sections import Fraction, Section, class_name


class ColumnsConfig(Section):
    """Column names of ``format: table``; image and label are required there."""

    image: str | None = Field(
        None, description="column holding the image path, relative to data.images or the table's folder"
    )
    label: str | Annotated[list[str], Field(min_length=2)] | None = Field(
        None,
        description="column holding the diagnosis; a list: a column per class, of which one is 1 per row",
    )
    lesion: str | None = Field(
        None, description="column holding the lesion id; none: every image is its own lesion"
    )
    patient: str | None = Field(
        None, description="column holding the patient id; when given, splits go by patient"
    )
    age: str | None = Field(None, description="column holding the age in years")
    sex: str | None = Field(None, description="column holding the sex")
    site: str | None = Field(None, description="column holding the body site")
    skin_type: str | None = Field(None, description="column holding the Fitzpatrick skin type")


class TrainSetsConfig(Section):
    """Disjoint training sets drawn from the train part; the classifier trains on the chosen ones, the rest is the pool.

    Val, test and the pool are the same whichever sets are used, so that sets are replicates on one test part.
    """

    count: Annotated[int, Field(ge=1, le=100)] = Field(10, description="disjoint sets to draw")
    images: Annotated[int, Field(ge=1)] = Field(
        500, description="images a set, within 5 %; with per_class: images per class, up to what there is"
    )
    per_class: bool = Field(False, description="count images by class instead of in total")
    use: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] = Field(
        [0], description="the set (0, 1, ...) that the classifier trains on; a list makes one larger set"
    )

    @field_validator("use", mode="before")
    @classmethod
    def _one(cls, use: Any) -> Any:
        return [use] if isinstance(use, int) else use

    @model_validator(mode="after")
    def _use(self) -> TrainSetsConfig:
        if len(set(self.use)) != len(self.use):
            raise ValueError(f"use names a set twice: {self.use}")
        if max(self.use) >= self.count:
            raise ValueError(
                f"use {max(self.use)} is no set; with count {self.count} they are 0 to {self.count - 1}"
            )
        return self


class FoldsConfig(Section):
    """Cross-validation: test is one fold of the lesions; val (and mine) are shares of the others, train the rest."""

    count: Annotated[int, Field(ge=2, le=20)] = Field(5, description="lesion-grouped, class-stratified folds")
    use: Annotated[int, Field(ge=0)] = Field(0, description="the fold that is test, from 0")

    @model_validator(mode="after")
    def _use(self) -> FoldsConfig:
        if self.use >= self.count:
            raise ValueError(
                f"use {self.use} is no fold; with count {self.count} they are 0 to {self.count - 1}"
            )
        return self


class SplitConfig(Section):
    """Shares of lesions per part; they must sum to at most 1, what is left over is not used."""

    train: Fraction = Field(
        0.60, description="share of groups the classifier and every generator part learn from"
    )
    mine: Fraction = Field(
        0.15, description="share of groups in which hard cases are sought; 0 with crossfit"
    )
    val: Fraction = Field(
        0.10, description="share of groups that fits temperature and operating points and picks"
    )
    test: Fraction = Field(0.15, description="share of groups that is recorded and never decides")
    merge_duplicates: bool = Field(
        True, description="join near-duplicate images into one group before splitting"
    )
    official: bool = Field(
        False, description="keep the data set's own train/val/test parts where it has them"
    )
    train_sets: TrainSetsConfig | None = Field(
        None, description="disjoint training sets within train; null: the classifier trains on all of it"
    )
    folds: FoldsConfig | None = Field(
        None,
        description="cross-validation: test is a fold, val and mine shares of the rest, train what remains",
    )
    seal: Literal["test"] | None = Field(
        None, description="test: leave its images out of the run while settings are still being chosen"
    )
    hide_labels: Annotated[float, Field(gt=0.0, le=1.0)] | None = Field(
        None,
        description="to study asking for labels: hide the labels of this share of train groups, per class; with train_sets "
        "of the groups outside the sets in use",
    )

    @model_validator(mode="after")
    def _sum(self) -> SplitConfig:
        total = self.train + self.mine + self.val + self.test
        if self.folds is not None:
            if self.official:
                raise ValueError(
                    "folds and official exclude each other: a fold is drawn, not given; drop one"
                )
            if self.mine + self.val >= 1.0:
                raise ValueError(
                    f"with folds, mine and val are shares of what a fold leaves: {self.mine + self.val:g} leaves no train"
                )
        elif total > 1.0 + 1e-9:
            raise ValueError(f"fractions sum to {total:g}, more than 1; lower train, mine, val or test")
        for name in ("train", "val", "test"):
            if getattr(self, name) <= 0.0:
                raise ValueError(
                    f"{name} must be above 0: every run needs lesions to train on, decide on and report"
                )
        return self


class BlindSpotConfig(Section):
    """A rare subtype of one phantom class that looks like a benign class, so that classifiers miss it systematically."""

    dx: Literal["mel"] = Field("mel", description="class with the subtype; mel: amelanotic, like a df")
    share: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        0.1, description="share of the class's lesions that are of the subtype"
    )
    difficulty: Fraction = Field(
        0.8, description="0: looks like its class; 1: like the benign class, but for the subtype's own cue"
    )


class PhantomConfig(Section):
    """Size and difficulty of the procedural data set (``format: phantom``)."""

    lesions: Annotated[int, Field(ge=14)] = Field(400, description="number of lesions")
    views: Annotated[int, Field(ge=1, le=8)] = Field(2, description="most photographs of one lesion")
    difficulty: Fraction = Field(0.5, description="0: classes far apart; 1: classes overlap heavily")
    imbalance: Fraction = Field(0.5, description="0: classes equally frequent; 1: HAM10000's proportions")
    blind_spot: BlindSpotConfig | None = Field(
        None, description="a planted subtype to find, for control experiments; null: none"
    )


class DataConfig(Section):
    """Where images come from and how they are cut."""

    format: Literal["ham10000", "isic", "medmnist", "folder", "table", "pixels", "torchvision", "phantom"] = (
        Field("phantom", description="layout of the data; `hardcase init DIR` recognises it")
    )
    root: Place | None = Field(None, description="folder (or file) the data lies in; not used by phantom")
    images: Place | None = Field(
        None, description="folder of the images, for format isic or table; null: the folder of the table"
    )
    image_size: Annotated[int, Field(ge=16, le=1024)] = Field(
        64, description="side of the square images, pixels"
    )
    fit: Literal["crop", "stretch"] = Field(
        "crop", description="crop: short side to image_size, centre crop; stretch: distort to a square"
    )
    limit: Annotated[int, Field(ge=1)] | None = Field(
        None, description="use about this many images: whole lesions, stratified"
    )
    on_bad_image: Literal["fail", "skip"] = Field(
        "fail", description="fail: stop at a broken image; skip: drop and count it"
    )
    mask: Literal["file", "otsu", "none"] = Field(
        "file", description="lesion mask: the file's (Otsu where absent), Otsu, none"
    )
    crop: Literal["none", "bbox"] = Field(
        "none", description="Eq. 1's lesion cut to its bounding box before embedding, or not"
    )
    malignant: list[str] = Field(
        ["mel", "bcc", "akiec"], description="classes counted as malignant or premalignant"
    )
    columns: ColumnsConfig = Field(ColumnsConfig(), description="column names for format: table")
    map_labels: dict[str, str | None] = Field(
        {},
        description="rename classes as read ({AK: akiec, UNK: null}); null drops the images, or takes the label off them "
        "under unlabelled: keep",
    )
    unlabelled: Literal["keep", "refuse"] = Field(
        "refuse",
        description="images without a diagnosis: keep them, to ask about and for generators; refuse: they must be mapped",
    )
    unlabelled_images: Place | None = Field(
        None,
        description="folder of further images that have no diagnosis, under unlabelled: keep; null: none",
    )
    find_second_photographs: bool = Field(
        True,
        description="seek a lesion's further photographs under other ids by keypoints; false: only near-copies, many times "
        "faster on a large folder",
    )
    dataset: Literal["mnist", "cifar10"] | None = Field(
        None, description="which torchvision set (format: torchvision)"
    )
    phantom: PhantomConfig = Field(PhantomConfig(), description="the procedural data set (format: phantom)")
    split: SplitConfig = Field(SplitConfig(), description="shares of train, mine, val and test")
    workers: Annotated[int, Field(ge=0)] = Field(0, description="threads that decode images; 0: one a core")

    @field_validator("malignant", mode="before")
    @classmethod
    def _malignant(cls, names: Any) -> Any:
        return [class_name(name) for name in names] if isinstance(names, list) else names

    @field_validator("map_labels", mode="before")
    @classmethod
    def _labels(cls, mapping: Any) -> Any:
        if not isinstance(mapping, dict):
            return mapping
        named = {class_name(label): class_name(name) for label, name in mapping.items()}
        if len(named) < len(mapping):
            raise ValueError(f"names a label twice, as a number and as text: {mapping}; keep one")
        return named

    @model_validator(mode="after")
    def _root(self) -> DataConfig:
        if self.format != "phantom" and not self.root:
            raise ValueError(f"root is required for format: {self.format}; give data.root=FOLDER")
        if self.format == "torchvision" and self.dataset is None:
            raise ValueError(
                "dataset is required for format: torchvision; give data.dataset=mnist or cifar10"
            )
        if self.format == "table" and None in (self.columns.image, self.columns.label):
            raise ValueError("columns.image and columns.label are required for format: table")
        if self.unlabelled_images is not None and self.unlabelled != "keep":
            raise ValueError(
                "unlabelled_images is read under unlabelled: keep; set it, or drop unlabelled_images"
            )
        if self.unlabelled_images is not None and self.format not in ("ham10000", "isic", "folder", "table"):
            raise ValueError(
                f"unlabelled_images lies beside image files, which format: {self.format} does not read; drop it"
            )
        if self.images is not None and self.format not in ("isic", "table"):
            raise ValueError(
                f"images is not used by format: {self.format}, which reads data.root alone; drop it"
            )
        return self
