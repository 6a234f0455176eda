"""A landscape over the processes that ``torchrun`` has started."""

from typing import TypeVar

from landscape.core import Landscape, require_landscape
from landscape.landscapes.model import require_model
from landscape.landscapes.sharded import Sharded
from landscape.ranks import joined

F = TypeVar("F", bound=Landscape)


def over_ranks(f: F, shard: bool = False) -> F:
    """The same landscape, evaluated by all processes of this run together.

    Under ``torchrun --nproc-per-node N program.py`` every process runs the same program; what is
    made of the landscape returned here is the same on each, to the bit. A model's batches are
    dealt by what they count in the mean, and value, gradient and Hessian-vector products are summed
    over the ranks; the vectors of a Lanczos basis lie on the ranks by coordinates, so that memory
    and reductions are divided by N. Of a formula the searches of a census and the runs of an escape
    are dealt, and what they find does not hang on N. Elsewhere than under torchrun f is returned.

    An error on one rank is raised on all; where a process has ended the others raise a
    ``RanksError`` at the next exchange.

    Args:
        f: the landscape, made alike on every rank.
        shard: points, gradients, vectors and eigenvectors are this rank's parts too, ``g.spread``
            says which, and a pass gathers a weight only while it uses it. Hessians, ``eigsh``,
            ``spectral_density``, ``trace`` and ``points.spectrum`` take such landscapes. The model
            must use its parameters in the same order whatever the data. It may be of
            ``fully_shard`` or of DTensors, or on the meta device, for ``loading.load_parts`` to
            read each rank's part.

    Raises:
        TypeError: f is no landscape.
        ValueError: with ``shard``: f is no model's, or has recurrent layers.

    Cost of a product: that of a rank's part of the batches, and what exchanging two vectors (n,)
    takes. Needs ``torch.distributed`` with gloo, and nccl for models on GPUs.

    Examples:
        >>> import landscape as ls, torch
        >>> x, y = torch.linspace(-1, 1, 20)[:, None], torch.linspace(0, 2, 20)[:, None]
        >>> f = ls.ModelLandscape(torch.nn.Linear(1, 1), torch.nn.functional.mse_loss, [(x, y)])
        >>> ls.over_ranks(f).ranks.count  # of the processes that torchrun started
        1
    """
    require_landscape(f, "over_ranks")
    ranks = joined()
    if ranks.count == 1:
        return f
    if shard:
        model = require_model(f, "shard=True is for models: a formula's point is small.")
        return Sharded(model, ranks)  # type: ignore[return-value]  # of its own kind
    ours: F = f.over(ranks)  # type: ignore[assignment]  # of its own kind
    return ours
