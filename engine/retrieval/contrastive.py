"""Contrastive losses in which several examples may be positives of one another, and features over workers.

Shape legend: B captions of a global batch, V views an image (rows ordered view by view), D width.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from engine.training.plan import TrainEnv


def caption_loss(image_RD: Tensor, text_BD: Tensor, key_B: Tensor, scale: Tensor) -> Tensor:
    """CLIP's symmetric cross-entropy (Radford et al. 2021) with equal captions as equal positives.

    Many lesions share a caption; the plain loss would push an image away from its own caption when another row
    holds it too. The target of a row is uniform over all its positives (SupCon's out-of-sum form, Khosla et al. 2020).

    Args:
        image_RD: image features, R = V * B rows, view by view.
        text_BD: text features.
        key_B: equal where captions are equal.
        scale: factor on cosine similarity (CLIP's exp(logit_scale)).
    """
    logits_RB = scale * F.normalize(image_RD, dim=1) @ F.normalize(text_BD, dim=1).T
    key_R = key_B.repeat(len(image_RD) // len(text_BD))
    positive_RB = (key_R[:, None] == key_B[None, :]).float()
    by_image = F.cross_entropy(logits_RB, positive_RB / positive_RB.sum(dim=1, keepdim=True))
    by_text = F.cross_entropy(logits_RB.T, (positive_RB / positive_RB.sum(dim=0, keepdim=True)).T)
    return (by_image + by_text) / 2


def view_loss(image_RD: Tensor, group_R: Tensor, temperature: float) -> Tensor:
    """SupCon (Khosla et al. 2020, L_out) between images: rows of one group attract, all others repel.

    With a lesion as group and two augmented views an image this is NT-Xent (SimCLR) that knows photographs of
    one lesion. A row without positive does not count; without any, the loss is 0.
    """
    unit_RD = F.normalize(image_RD, dim=1)
    own_RR = torch.eye(len(unit_RD), dtype=torch.bool, device=unit_RD.device)
    logits_RR = (unit_RD @ unit_RD.T / temperature).masked_fill(own_RR, -torch.inf)
    positive_RR = (group_R[:, None] == group_R[None, :]) & ~own_RR
    count_R = positive_RR.sum(dim=1)
    log_share_RR = torch.log_softmax(logits_RR, dim=1).masked_fill(~positive_RR, 0.0)
    loss_R = -log_share_RR.sum(dim=1) / count_R.clamp(min=1)
    return loss_R.sum() / (count_R > 0).sum().clamp(min=1)


def gather(shard_BD: Tensor, batch_size: int, env: TrainEnv) -> Tensor:
    """Return the global batch's features in order, differentiable in this worker's own shard.

    Every worker computes the loss of the whole batch from them. ``engine.training.loop`` averages gradients over
    workers, so the own shard's gradient is multiplied by their number: the average is then exactly the gradient
    one worker would compute.
    """
    if env.world == 1:
        return shard_BD
    sizes = [len(piece) for piece in np.array_split(np.arange(batch_size), env.world)]
    padded = shard_BD.new_zeros((max(sizes), *shard_BD.shape[1:]))
    padded[: len(shard_BD)] = shard_BD.detach()
    pieces = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(pieces, padded)
    shards = [piece[:size] for piece, size in zip(pieces, sizes, strict=True)]
    shards[env.rank] = shard_BD.detach() + (shard_BD - shard_BD.detach()) * env.world
    return torch.cat(shards)
