import numpy as np
import pytest
from safetensors.numpy import save

from dapter.errors import DataError, UsageError
from dapter.features import pack, picture, unpack
from dapter.types import Payload

FEATURES = np.random.default_rng(0).normal(size=(3, 4, 5, 6)).astype(np.float16)


def test_features_survive_the_wire():
    assert np.array_equal(unpack(pack(FEATURES[0])), FEATURES[0])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        pack(FEATURES[0])[:-1],
        save({"other": FEATURES[0]}),
        save({"payload": FEATURES[0].astype(np.float32)}),
        pack(np.full((1, 1, 2), np.inf, np.float16)),
        pack(FEATURES[0][:0]),
        save(
            {f"{place}": FEATURES[0][:0] for place in range(9)} | {"payload": FEATURES[0]}
        ),  # thousands would take long
        save({"payload": FEATURES[0], "other": FEATURES[0]}),
    ],
)
def test_what_is_no_features_is_refused(content):
    with pytest.raises(DataError, match="Cure"):
        unpack(content)


def test_the_picture_of_features_has_the_images_size():
    seen = picture(FEATURES, (16, 20))
    assert seen.shape == (3, 16, 20, 3)
    assert seen.dtype == np.uint8
    assert seen.min(axis=(1, 2, 3)).tolist() == [0] * 3
    assert seen.max(axis=(1, 2, 3)).tolist() == [255] * 3
    assert not picture(np.zeros((1, 2, 2, 3), np.float16), (4, 4)).any()


def test_a_payload_of_features_is_no_image():
    payload = Payload(FEATURES)
    assert payload.is_features
    with pytest.raises(UsageError, match=r"features.*pack"):
        _ = payload.pixels
    with pytest.raises(UsageError, match="finite"):
        Payload(np.full((1, 2, 2, 3), np.inf, np.float16))
