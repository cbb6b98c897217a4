"""Stage ``index``: embeds the train lesions and makes them searchable with FAISS, fused and level by level."""

from __future__ import annotations

from engine.artifacts import index as index_file
from engine.artifacts.index import IndexFacts
from engine.config import Config, EmbedderConfig
from engine.evaluation.fidelity.memorization import nearest_other_lesion_quantiles
from engine.parts.context import StageContext
from engine.parts.dataset import open_dataset
from engine.parts.embed import Extraction, embed_rows
from engine.parts.own_images import sees_unlabelled
from engine.retrieval.embedding import fuse
from engine.retrieval.index import LesionIndex
from engine.stages import base
from engine.stages.outputs import File


class Params(base.GeneratorParams):
    """How train lesions are embedded."""

    embedder: EmbedderConfig
    data: Extraction

    @classmethod
    def of(cls, config: Config) -> Params:
        """Return what a run of ``config`` reads."""
        return cls(
            embedder=config.embedder, data=Extraction.of(config.data), unlabelled=sees_unlabelled(config)
        )


def run(context: StageContext, params: Params) -> None:
    """Fill the index folder; rows are those of ``dataset.learned()``, in its order.

    Raises:
        StageError: the train split holds fewer than two lesions.
    """
    config = params.embedder
    images, split = context.inputs["images"], context.inputs["split"]
    dataset = open_dataset(images, split, unlabelled=params.unlabelled)
    train = dataset.learned()
    table = dataset.table.take(train)
    levels_NLD = embed_rows(
        context, dataset.rows[train], "embed train lesions", tokens=config.tokens, cut=params.data
    )
    fused_NF = fuse(levels_NLD, config.fuse)
    LesionIndex(
        image_id=table.image_id,
        lesion_id=table.lesion_id,
        dx=table.dx,
        fused_NF=fused_NF,
        levels_NLD=levels_NLD,
    ).save(context.out)
    quantiles = nearest_other_lesion_quantiles(fused_NF, table.lesion_id)
    by_percentile = {str(percentile): value for percentile, value in quantiles.items()}
    IndexFacts(n=len(table), quantiles=by_percentile).write(context.out)


STAGE = base.Stage(
    name="index",
    version=2,
    params=Params,
    run=run,
    inputs=("images", "split", "embedder"),
    maps=True,
    foundation=True,
    units=lambda _params, sizes: sizes.chunks(sizes.train),
    files=(
        index_file.SCHEMA,
        index_file.FUSED,
        index_file.LEVELS,
        File(index_file.FUSED_FAISS, "FAISS index of the fused embeddings"),
        File(index_file.LEVEL_FAISS.format(level="<k>"), "FAISS index of one level, the lowest layer first"),
        IndexFacts,
    ),
)
