"""The graph of CAMIL: neighbours in space, weighted by how much their features are alike."""

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from mil.bags import Bag
from mil.neighbours import spatial_neighbours
from mil.nn.adjacency import Adjacency
from mil.nn.segments import at_least_single

COMPARED, KEPT = 15, 7


def similarity_graph(bag: Bag, positions: Tensor) -> Adjacency:
    r"""Return the directed graph of the code of CAMIL (Fourkioti et al., ICLR 2024).

    An instance receives from its 7 nearest and itself. With :math:`d_{ij}` the cosine distance of
    features to the 15 nearest, the weight is :math:`\exp(-d_{ij} / \|d_i\|)`; its own weight is the
    largest of the 15. No gradient flows through weights.

    Parameters
    ----------
    positions : [N, 2], where "nearest" is measured; of equal distance the first instance.
    """
    edges, weights = [], []
    unit = normalize(at_least_single(bag.features.detach()), dim=1)
    for start, end in pairwise(bag.offsets.tolist()):
        own = torch.arange(start, end, device=unit.device)
        found = spatial_neighbours(positions[start:end].cpu().numpy(), COMPARED)  # [n, <= 15]
        near = torch.from_numpy(np.ascontiguousarray(found.T)).to(own) + start  # [<= 15, n]
        here = unit[start:end]
        distance = here.new_empty(len(own), len(near))
        for place, one in enumerate(near):
            distance[:, place] = 1 - (unit[one] * here).sum(1)
        weight = (-normalize(distance, dim=1)).exp()  # [n, <= 15]
        itself = weight.amax(1) if len(near) else here.new_ones(len(own))
        kept = near[:KEPT]
        edges.append(torch.stack([torch.cat([own, *kept]), own.repeat(1 + len(kept))]))
        weights.append(torch.cat([itself, weight[:, :KEPT].t().flatten()]))
    return Adjacency.of(torch.cat(edges, 1), len(bag.features), torch.cat(weights))
