"""Stage ``index``: embeds the train lesions and makes them searchable with FAISS, fused and level by level."""

from __future__ import annotations

import json

from engine.config import EmbedderConfig
from engine.evaluation.fidelity.memorization import nearest_other_lesion_quantiles
from engine.parts.dataset import open_dataset
from engine.retrieval.embedding import fuse
from engine.retrieval.index import LesionIndex
from engine.stages.base import StageContext
from engine.stages.embedder import embed_rows


def run(context: StageContext) -> None:
    """Fill the index folder (see ARCHITECTURE.md); rows are the train split's, in its order.

    Raises:
        StageError: the train split holds fewer than two lesions.
    """
    config = EmbedderConfig(**context.params["embedder"])
    dataset = open_dataset(context.inputs["images"], context.inputs["split"])
    train = dataset.where("train")
    table = dataset.table.take(train)
    levels_NLD = embed_rows(context, dataset.rows[train], "embed train lesions")
    fused_NF = fuse(levels_NLD, config.fuse)
    LesionIndex(
        image_id=table.image_id,
        lesion_id=table.lesion_id,
        dx=table.dx,
        fused_NF=fused_NF,
        levels_NLD=levels_NLD,
    ).save(context.out)
    quantiles = nearest_other_lesion_quantiles(fused_NF, table.lesion_id)
    facts = {
        "n": len(table),
        "quantiles": {str(percentile): value for percentile, value in quantiles.items()},
    }
    (context.out / "index.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
