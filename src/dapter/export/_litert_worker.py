"""What runs inside LiteRT's own environment: convert a program, or run a file. It has torch, but no dapter.

Arguments: `convert PROGRAM.pt2 OUT.tflite PRECISION CALIBRATION.npz`, or `run FILE.tflite IN.npz OUT.npy`. The .npz
files hold `images`, uint8 (N, H, W, 3), and `dials`, float32: empty, one for each image, or one for all of them.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

QUANTISED = ("CONV_2D", "DEPTHWISE_CONV_2D", "CONCATENATION", "RESIZE_NEAREST_NEIGHBOR")
"""Computed with 8-bit integers, where the precision is int8, but for the last convolution (see the other formats)."""

WEIGHTS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
"""Operations whose weights are float16, where the precision is; they are computed with in float32."""


def convert(source: str, target: str, precision: str, calibration: str) -> None:
    """A program of `torch.export`, with its example inputs, as a flatbuffer."""
    import litert_torch
    import torch

    program = torch.export.load(source)
    inputs, _ = program.example_inputs
    litert_torch.convert(program.module(), inputs).export(target)
    if precision != "float32":
        reduce(Path(target), precision, calibration)


def reduce(path: Path, precision: str, calibration: str) -> None:
    """Make a float32 file one of another precision, in place."""
    from ai_edge_quantizer import quantizer
    from ai_edge_quantizer.qtyping import TFLOperationName

    names = quantizer.AlgorithmName
    work = quantizer.Quantizer(bytearray(path.read_bytes()))
    if precision == "float16":
        for name in WEIGHTS:
            work.add_weight_only_config(".*", TFLOperationName[name], 16, algorithm_key=names.FLOAT_CASTING)
        ranges = None
    else:
        for name in QUANTISED:
            work.add_static_config(".*", TFLOperationName[name], 8, 8)
        last = re.escape(last_convolution(path))
        work.update_quantization_recipe(last, TFLOperationName.CONV_2D, algorithm_key=names.NO_QUANTIZE)
        signature, samples = calibration_samples(path, calibration)
        ranges = work.calibrate({signature: samples}, num_threads=1)
    done = work.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    path.write_bytes(bytes(done.quantized_model))


def load(path: Path) -> Any:
    """An interpreter of a file, ready."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=path.read_bytes(), num_threads=1)
    interpreter.allocate_tensors()
    return interpreter


def last_convolution(path: Path) -> str:
    """The name of the last convolution's output."""
    interpreter = load(path)
    names = {entry["index"]: entry["name"] for entry in interpreter.get_tensor_details()}
    outputs = [entry["outputs"][0] for entry in interpreter._get_ops_details() if entry["op_name"] == "CONV_2D"]
    return str(names[outputs[-1]])


def calibration_samples(path: Path, calibration: str) -> tuple[str, list[dict[str, np.ndarray]]]:
    """The name of the only signature, and its inputs for every image."""
    ((signature, ends),) = load(path).get_signature_list().items()
    samples = [dict(zip(ends["inputs"], values, strict=True)) for values in inputs_of(calibration)]
    return signature, samples


def inputs_of(source: str) -> Iterator[list[np.ndarray]]:
    """For each image of an .npz file, the inputs of the graph, in their order."""
    given = np.load(source)
    images, dials = given["images"], given["dials"]
    for i, image in enumerate(images):
        yield [image[None], *([] if len(dials) == 0 else [dials[i % len(dials)]])]


def run(model: str, source: str, target: str) -> None:
    """Images, and the dial where there is one, through a flatbuffer, one image at a time."""
    interpreter = load(Path(model))
    (output,) = interpreter.get_output_details()
    entries = sorted(interpreter.get_input_details(), key=lambda entry: -len(entry["shape"]))
    found = []
    for values in inputs_of(source):
        for entry, value in zip(entries, values, strict=True):
            interpreter.set_tensor(entry["index"], np.asarray(value, entry["dtype"]).reshape(entry["shape"]))
        interpreter.invoke()
        found.append(interpreter.get_tensor(output["index"]))
    np.save(target, np.concatenate(found))


if __name__ == "__main__":
    if sys.argv[1] == "convert":
        convert(*sys.argv[2:])
    else:
        run(*sys.argv[2:])
