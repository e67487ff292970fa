"""An adapter of our own for a service that speaks no known protocol: brightness of red against blue."""

import numpy as np

calls = []


def ask(url, images):
    calls.append(len(images))
    red = images[..., 0].astype(float).mean(axis=(1, 2)) > images[..., 2].astype(float).mean(axis=(1, 2))
    return np.array(["red" if each else "blue" for each in red])
