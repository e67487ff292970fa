"""Where the time of one photo goes, on one thread: open, convert, encode, send; and its bytes before and after.

    python benchmarks/client.py --release releases/NAME --key signing.pub --photos FOLDER

The service is the reference service on this machine, with a model that answers at once: `send` is what the protocol
and the sockets cost. Photos are resized to 224 x 224 pixels in memory first, as JPEG of quality 90; without --photos,
they are generated portraits. Figures are the median over all photos, with the quartiles as low and high. Writes
`results/client.jsonl`; lines of other settings stay.
"""

import argparse
import os

os.environ["OMP_NUM_THREADS"] = "1"

from pathlib import Path

import numpy as np
from lines import replace_lines

from dapter.client import Client
from dapter.data import load_data
from dapter.imagefile import SUFFIXES, encode, open_image
from dapter.runs import code_version, environment, fingerprint
from dapter.service.inference import Model
from dapter.service.server import Server, Settings
from dapter.types import Measurement
from dapter.verify import verify_release

SOURCE = "python benchmarks/client.py"
RESULTS = Path(__file__).parents[1] / "results" / "client.jsonl"
STEPS = ("open", "convert", "encode", "send")


def photos(folder, size, n):
    """JPEG files in memory, all of one size."""
    if folder is None:
        images = load_data("faces", n=max(n, 20), size=size).splits["train"].images[:n]
    else:
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)[:n]
        images = [open_image(path, (size, size), square=True) for path in paths]
    return [encode(image, "JPEG", 90) for image in images]


def measure(release, key, files, size, precision, rounds):
    """One row a step and photo, in milliseconds; and the bytes of the files and of what was sent."""
    classes = verify_release(release, key).manifest["targets"]

    def answer(images):
        return {target: np.zeros((len(images), len(names)), np.float32) for target, names in classes.items()}

    rows, sizes = [], []
    with (
        Server([Model("model", "1", classes, answer)], Settings(port=0, grpc_port=None)) as server,
        Client(server.url, release, key, size=(size, size), precision=precision) as client,
    ):
        for _ in range(3):
            client.classify(files[0])
        for file in files:
            found = [client.classify(file) for _ in range(rounds)]
            rows.append([min(each.sent.seconds[step] for each in found) * 1000 for step in STEPS])
            sizes.append((len(file), len(found[0].sent.data), found[0].sent.request_bytes))
    return np.array(rows), np.array(sizes)


def lines(manifest, size, precision, times, sizes, data):
    """The figures as measurements."""
    common = {
        "defence": manifest["defence"],
        "settings": {**manifest["settings"], "image_size": [size, size], "precision": precision, "threads": 1},
        "data": data,
        "target": ", ".join(manifest["targets"]),
        "n": len(times),
        "source": SOURCE,
        "code": code_version(),
        "environment": environment(),
    }
    figures = {f"{step}_ms": column for step, column in zip(STEPS, times.T, strict=True)}
    figures["latency_ms"] = times.sum(axis=1)
    figures |= dict(zip(("original_bytes", "payload_bytes", "request_bytes"), sizes.T, strict=True))
    for name, column in figures.items():
        low, value, high = np.percentile(column, (25, 50, 75)).tolist()
        yield Measurement(measure=name, value=value, low=low, high=high, **common)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release", type=Path, required=True)
    parser.add_argument("--key", type=Path, required=True)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--n", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5, help="of which the fastest counts")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    files = photos(args.photos, args.size, args.n)
    times, sizes = measure(args.release, args.key, files, args.size, args.precision, args.rounds)
    manifest = verify_release(args.release, args.key).manifest
    data = "faces" if args.photos is None else "folder"
    found = list(lines(manifest, args.size, args.precision, times, sizes, data))
    replace_lines(args.out, found, lambda entry: (entry.data, fingerprint(entry.settings)))
    for line in found:
        print(f"{line.measure}: {line.value:,.2f} ({line.low:,.2f} to {line.high:,.2f})")
    print(f"The figures are in {args.out}")


if __name__ == "__main__":
    main()
