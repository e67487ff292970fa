"""What the tests of the defences that change the service share."""

import torch

from dapter.batches import Batch, batches


def batch_of(data, n=32, progress=1.0):
    """The first training images, at that share of the training."""
    first = next(batches(data.splits["train"].head(n), n, torch.device("cpu")))
    return Batch(first.images, first.labels, progress)


def moved(defence, step):
    """The names of the networks whose parameters, or running statistics, a training step changes."""
    defence.learner.nets.train()
    nets = defence.learner.nets
    before = {name: {key: value.clone() for key, value in net.state_dict().items()} for name, net in nets.items()}
    step()
    return {
        name
        for name, net in nets.items()
        if any(not torch.equal(value, before[name][key]) for key, value in net.state_dict().items() if value.ndim)
    }


def probe_secret(defence, data, steps=150):
    """Share of test images whose shape a small convolutional probe reads from the payloads."""
    torch.manual_seed(0)
    sets = {}
    for name in ("train", "test"):
        values = torch.from_numpy(defence.protect(data.splits[name].images).values).permute(0, 3, 1, 2).float()
        sets[name] = values, torch.from_numpy(data.splits[name].labels["shape"])
    features, labels = sets["train"]
    mean, deviation = features.mean(), features.std().clamp(min=1e-6)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(features.shape[1], 16, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(16, 16, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.AdaptiveMaxPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(64, 2),
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    for _ in range(steps):
        rows = torch.randint(0, len(labels), (64,))
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net((features[rows] - mean) / deviation), labels[rows]).backward()
        optimizer.step()
    features, labels = sets["test"]
    with torch.no_grad():
        return float((net((features - mean) / deviation).argmax(dim=1) == labels).float().mean())
