import numpy as np
import pytest
import torch

from dapter.defences.disco import Disco
from dapter.defences.random_pruning import RandomPruning
from dapter.errors import UsageError
from probe import TASK, flags


def test_it_leaves_out_as_many_as_the_choice_that_it_is_compared_with():
    assert RandomPruning().ratio == Disco().pruning


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75])
def test_the_share_of_channels_that_was_asked_for_is_left_out_whole(ratio):
    defence = RandomPruning(width=8, blocks=1, ratio=ratio).setup(0, None, TASK)
    sent = defence.protect(flags(50, seed=0).images).values
    with torch.no_grad():
        everything = defence.learner.nets["client"][0](
            torch.from_numpy(flags(50, seed=0).images / 255).float().permute(0, 3, 1, 2)
        )
    empty = ~sent.any(axis=(1, 2))
    assert (empty.sum(axis=1) == 8 * ratio).all()
    kept = everything.permute(0, 2, 3, 1).numpy()
    assert np.allclose(np.where(empty[:, None, None], 0, kept), sent, atol=1e-2)
    assert set(np.argwhere(empty)[:, 1]) == set(range(8)), "any channel may be left out"


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_settings_that_cannot_work_are_refused(ratio):
    with pytest.raises(UsageError, match="Cure"):
        RandomPruning(ratio=ratio)
