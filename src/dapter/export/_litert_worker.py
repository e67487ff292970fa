"""What runs inside LiteRT's own environment: convert a program, or run a file. It has torch, but no dapter.

Arguments: `convert PROGRAM.pt2 OUT.tflite`, or `run FILE.tflite IN.npz OUT.npy`.
"""

import sys
from pathlib import Path

import numpy as np


def convert(source: str, target: str) -> None:
    """A program of `torch.export`, with its example inputs, as a flatbuffer."""
    import litert_torch
    import torch

    program = torch.export.load(source)
    inputs, _ = program.example_inputs
    litert_torch.convert(program.module(), inputs).export(target)


def run(model: str, source: str, target: str) -> None:
    """Images, and the dial where there is one, through a flatbuffer, one image at a time."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=Path(model).read_bytes(), num_threads=1)
    interpreter.allocate_tensors()
    inputs, (output,) = interpreter.get_input_details(), interpreter.get_output_details()
    given = np.load(source)
    found = []
    for image in given["images"]:
        for entry in inputs:
            value = image[None] if len(entry["shape"]) == 4 else given["dial"]
            interpreter.set_tensor(entry["index"], value.astype(entry["dtype"]).reshape(entry["shape"]))
        interpreter.invoke()
        found.append(interpreter.get_tensor(output["index"]))
    np.save(target, np.concatenate(found))


if __name__ == "__main__":
    {"convert": convert, "run": run}[sys.argv[1]](*sys.argv[2:])
