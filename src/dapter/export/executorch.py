"""ExecuTorch: a `.pte` file for phones, computed by XNNPACK; one image of one size at a time.

The runtime plans its memory when the file is made, for the largest image that it may get, so that a file for every size
cannot be; one for a single size needs the least.
"""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from dapter.errors import ConversionError, need
from dapter.export import Dial, Exporter, Precision, Runner, Subject
from dapter.export._graph import Graph
from dapter.export._quiet import quiet

QUANTISED = (torch.ops.aten.conv2d.default, torch.ops.aten.cat.default)
"""Computed with 8-bit integers, where the precision is int8; the last convolution is not: near grey, one level of its
output is finer than a step of eight bits over its range."""


class Executorch(Exporter):
    """For the ExecuTorch runtime on Android, iOS and small Linux boards."""

    suffix: ClassVar[str] = ".pte"
    precisions: ClassVar[tuple[Precision, ...]] = ("float32", "float16", "int8")
    any_size: ClassVar[bool] = False

    def write(
        self, subject: Subject, path: Path, precision: Precision, size: tuple[int, int], calibration: np.ndarray
    ) -> None:
        """Write the file, unchecked."""
        graph = Graph(subject.client, torch.float16 if precision == "float16" else torch.float32).eval()
        image = torch.zeros(1, *size, 3, dtype=torch.uint8)
        with quiet():
            exir = need("executorch.exir", "mobile")
            xnnpack = need("executorch.backends.xnnpack.partition.xnnpack_partitioner", "mobile")
            inputs = (image,) if subject.dial is None else (image, torch.tensor(subject.dial.default))
            program = torch.export.export(graph, inputs)
            if precision == "int8":
                program = _quantise(program, inputs, calibration, subject.dial)
            lowered = exir.to_edge_transform_and_lower(program, partitioner=[xnnpack.XnnpackPartitioner()])
            path.write_bytes(lowered.to_executorch().buffer)

    def open(self, path: Path) -> Runner:
        """The file, ready to convert."""
        with quiet():
            runtime = need("executorch.runtime", "mobile").Runtime.get()
        program = runtime.load_program(path.read_bytes())

        def convert(images: np.ndarray, dial: float | None) -> np.ndarray:
            method = program.load_method("forward")  # it must not outlive the program
            more = [] if dial is None else [torch.tensor(dial)]
            batch = torch.from_numpy(np.ascontiguousarray(images))
            return np.concatenate([_run(method, [image[None], *more]) for image in batch])

        return convert


def _run(method: Any, inputs: list[Tensor]) -> np.ndarray:
    try:
        (found,) = method.execute(inputs)
    except RuntimeError as error:
        raise ConversionError(f"the converter fails on images of {tuple(inputs[0].shape)} ({error})") from error
    payload: np.ndarray = found.numpy().copy()
    return payload


def _quantise(program: Any, inputs: tuple[Tensor, ...], images: np.ndarray, dial: Dial | None) -> Any:
    """The program with 8-bit integers inside, their ranges taken from images, uint8 (N, H, W, 3)."""
    quantizer = need("executorch.backends.xnnpack.quantizer.xnnpack_quantizer", "mobile")
    pt2e = need("torchao.quantization.pt2e.quantize_pt2e", "mobile")
    module = program.module()
    last = [node.name for node in module.graph.nodes if node.target == torch.ops.aten.conv2d.default][-1:]
    chooser = quantizer.XNNPACKQuantizer().set_filter_function(lambda node: node.name not in last)
    for operation in QUANTISED:
        chooser.set_operator_type(operation, quantizer.get_symmetric_quantization_config(is_per_channel=True))
    prepared = pt2e.prepare_pt2e(module, chooser)
    values = [None] if dial is None else np.linspace(dial.low, dial.high, len(images)).tolist()
    with torch.no_grad():
        for i, image in enumerate(torch.from_numpy(np.ascontiguousarray(images))):
            prepared(image[None], *([] if dial is None else [torch.tensor(values[i])]))
    return torch.export.export(pt2e.convert_pt2e(prepared), inputs)
