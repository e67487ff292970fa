"""Fuzz the readers of releases: whatever the bytes are, they are read or refused; nothing else may happen.

    python tests/fuzz/release_readers.py [--seconds 60] [--reader NAME] [--seed 1]

Uses atheris (libFuzzer: mutations that follow the coverage of our code). Prints the number of executions; after a crash
it prints the bytes, and the exit code is not 0. The tests run the same readers for a short time, on fixed mutations.
"""

import argparse
import contextlib
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

SMALL = 2**16


def targets():
    """For each reader: what it does with bytes, and bytes to begin with."""
    import numpy as np

    from dapter.stamps import Stamps
    from dapter.verify.claims import check_claims, claims_of, read_claims, read_results
    from dapter.verify.graphs import graph_faults
    from dapter.verify.manifest import read_manifest
    from dapter.verify.problems import Broken
    from dapter.verify.signature import load_key, read_signature
    from dapter.verify.stamps import stamps_faults
    from dapter.verify.weights import weights_faults
    from releases.make import keys, make_contents, make_graph, make_manifest, make_release

    folder = Path(tempfile.mkdtemp())
    private, public = keys(folder)
    release = make_release(folder / "release", private)
    manifest = make_manifest()
    contents = make_contents(manifest)
    key = load_key(public)
    honest, _ = read_results(contents["results.jsonl"])

    def signature(data):
        with contextlib.suppress(Broken):
            read_signature(data, key)

    def claims(data):
        found, problems = read_claims(data)
        assert all(str(each) for each in (*problems, *check_claims(found, honest, manifest)))

    def results(data):
        found, problems = read_results(data)
        claims_of(found)
        assert all(str(each) for each in (*problems, *check_claims([], found, manifest)))

    def graph(data):
        for dial in (None, {"name": "lam"}):
            assert all(isinstance(each, str) for each in graph_faults(data, manifest["exports"][0], dial))

    def stamps(data):
        assert all(isinstance(each, str) for each in stamps_faults(data, manifest))

    def read(data):
        value, problems = read_manifest(data)
        assert value is not None or problems

    return {
        "manifest": (read, [(release / "release.json").read_bytes()]),
        "graph": (graph, [make_graph(dial).SerializeToString() for dial in (False, True)]),
        "weights": (weights_faults, [contents["weights.safetensors"]]),
        "claims": (claims, [contents["claims.json"]]),
        "results": (results, [contents["results.jsonl"]]),
        "signature": (signature, [(release / "model.sig").read_bytes()]),
        "stamps": (stamps, [Stamps(np.zeros((2, 1, 1, 3), np.uint8), 3).to_json((4, 4)).encode()]),
    }


def main():
    import atheris

    parser = argparse.ArgumentParser(description="Fuzz the readers of releases.")
    parser.add_argument("--seconds", type=int, default=60, help="for each reader")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--reader", help="this one, in this process; by default each, in one of its own")
    given = parser.parse_args()
    if given.reader is None:
        import subprocess

        for name in ("manifest", "graph", "weights", "claims", "results", "signature", "stamps"):
            print(f"== {name}", flush=True)
            again = ["--reader", name, "--seconds", str(given.seconds), "--seed", str(given.seed)]
            subprocess.run([sys.executable, __file__, *again], check=True)
        return
    with atheris.instrument_imports(include=["dapter.verify"]):
        run, seeds = targets()[given.reader]
    corpus = Path(tempfile.mkdtemp())
    for place, data in enumerate(seeds):
        (corpus / str(place)).write_bytes(data)
    limits = [f"-max_total_time={given.seconds}", f"-seed={given.seed}", f"-max_len={SMALL}", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], str(corpus), *limits, "-rss_limit_mb=2048", "-timeout=10"], run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
