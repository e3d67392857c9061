"""Graph convolution by one linear layer."""

from torch import Tensor, nn
from torch.nn.functional import linear

from mil.nn.adjacency import Adjacency


class GCNConv(nn.Module):
    r"""Graph convolution (Kipf and Welling, ICLR 2017), with a node as heavy as its neighbourhood.

    .. math:: y = (\hat A + I)\, x W^\top + b

    with :math:`\hat A` the normalised neighbours, see ``gcn_graph``. This is torchmil's form; the
    article adds the node before it normalises, which leaves it the smaller part.

    Parameters
    ----------
    width : H, of the nodes and of the output.

    Shapes
    ------
    x [N, H] and the graph of N nodes -> [N, H].
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x: Tensor, graph: Adjacency) -> Tensor:
        """Return the nodes [N, H]; ``graph`` is that of ``gcn_graph``."""
        return graph @ linear(x, self.linear.weight) + self.linear.bias


def gcn_graph(graph: Adjacency) -> Adjacency:
    r"""Return :math:`\hat A + I`.

    :math:`\hat A` is :math:`D^{-1/2} A D^{-1/2}`; where A is not symmetric, the mean of those
    heard, :math:`D^{-1} A`.
    """
    return graph.normalised("sym" if graph.symmetric else "row").with_loops()
