"""Statistics of batch normalisation, measured anew for weights that they were not made with.

Averages along a training need that (Izmailov et al., "Averaging weights leads to wider optima and better
generalization", UAI 2018). `torch.optim.swa_utils.update_bn` does it for one network; here a forward pass may leave
some layers out.
"""

from collections.abc import Callable, Iterable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from dapter.batches import Batch


@torch.no_grad()
def measure_norms(nets: nn.Module, forward: Callable[[Batch], object], over: Iterable[Batch]) -> None:
    """Replace the running statistics by those of all batches alike, and leave the layers in evaluation mode.

    A layer that the forward pass leaves out, or puts in evaluation mode, keeps its statistics; what it gives others is
    made with them.

    Args:
        nets: in evaluation mode.
        forward: a forward pass through them.
    """
    norms = [net for net in nets.modules() if isinstance(net, _BatchNorm)]
    before = [(norm.momentum, {name: value.clone() for name, value in norm.state_dict().items()}) for norm in norms]
    for norm in norms:
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked.zero_()  # the first batch takes the place of what is there
        norm.momentum = None  # of all batches alike
        norm.train()
    for batch in over:
        forward(batch)
    for norm, (momentum, state) in zip(norms, before, strict=True):
        norm.momentum = momentum
        if not norm.num_batches_tracked:
            norm.load_state_dict(state)
        norm.eval()
