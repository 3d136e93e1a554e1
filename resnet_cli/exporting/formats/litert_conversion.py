"""Converts a torch program into a ``.tflite`` file, as a process of its own: litert-torch prints, and imports JAX.

    python -m resnet_cli.exporting.formats.litert_conversion PRECISION

The current folder has the program, and for int8 the images that value ranges are measured on.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from resnet_cli.exported.litert import MODEL_FILE
from resnet_cli.system.threads import num_threads

#: A program of torch.export, and squares uint8 [n x s x s x 3].
PROGRAM_FILE, SQUARES_FILE = "program.pt2", "squares.npy"
#: The name of the input in the file.
INPUT = "images"


def convert() -> bytes:
    """The program of the current folder as a ``.tflite`` file in float32."""
    import litert_torch
    import torch

    # The parent process has just written it.
    program = torch.export.load(PROGRAM_FILE)
    assert program.example_inputs is not None
    litert_torch.convert(program.module(), sample_kwargs=program.example_inputs[1]).export(MODEL_FILE)
    return Path(MODEL_FILE).read_bytes()


def halve(data: bytes) -> bytes:
    """The same file with the weights of its convolutions in float16; LiteRT computes in float32."""
    from ai_edge_quantizer import qtyping, quantizer, recipe_manager

    half = qtyping.OpQuantizationConfig(
        weight_tensor_config=qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT),
        compute_precision=qtyping.ComputePrecision.FLOAT,
        explicit_dequantize=True,
    )
    names = qtyping.TFLOperationName
    recipe = recipe_manager.RecipeManager()
    recipe.add_quantization_config(".*", names.CONV_2D, half, "float_casting")
    made = quantizer.Quantizer(data, recipe.get_quantization_recipe()).quantize(enable_progress_report=False)
    return bytes(made.quantized_model)


def quantize(data: bytes, squares: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    """The same file with everything from the first convolution to the average pooling in int8, per channel.

    The head stays in float32, as in ONNX files.
    """
    from ai_edge_quantizer import calibrator, qtyping, quantizer, recipe_manager

    names = qtyping.TFLOperationName
    recipe = recipe_manager.RecipeManager()
    scopes = [(".*", names.CONV_2D), (".*", names.PAD), (".*", names.MAX_POOL_2D), (".*", names.ADD)]
    for scope, name in scopes:
        recipe.add_static_config(scope, name, activation_num_bits=8, weight_num_bits=8)
    made = quantizer.Quantizer(data, recipe.get_quantization_recipe())
    (signature,) = _interpreter(data).get_signature_list()
    ranges = made.calibrate(
        {signature: [{INPUT: square[None]} for square in squares]},
        mode=calibrator.CalibrationMode.CALIBRATION_PROFILER_BASED,
        num_threads=num_threads(),
    )
    _widen_input(ranges, data, squares[0].shape[0])
    return bytes(made.quantize(ranges, enable_progress_report=False).quantized_model)


def _widen_input(ranges: dict[str, Any], data: bytes, side: int) -> None:
    """Gives the network's normalized input the range of every possible pixel; a mean over images would clip white."""
    interpreter = _interpreter(data)
    interpreter.allocate_tensors()
    key = next(iter(interpreter.get_signature_list()))
    run = interpreter.get_signature_runner(key)
    tensors = [
        one
        for one in interpreter.get_tensor_details()
        if one["name"] in ranges and len(one["shape"]) == 4 and one["shape"][0] == 1 and one["shape"][3] == 3
    ]
    for level in (0, 255):
        run(**{INPUT: np.full((1, side, side, 3), level, dtype=np.uint8)})
        for one in tensors:
            values, known = interpreter.get_tensor(one["index"]), ranges[one["name"]]
            known["min"] = np.minimum(known["min"], values.min())
            known["max"] = np.maximum(known["max"], values.max())


def _interpreter(data: bytes) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    # Without XNNPACK, which does not fill the tensors between its own operators.
    kinds = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    return Interpreter(model_content=data, experimental_op_resolver_type=kinds, experimental_preserve_all_tensors=True)


def main(precision: str) -> None:
    """Writes the file into the current folder."""
    data = convert()
    if precision == "fp16":
        data = halve(data)
    elif precision == "int8":
        data = quantize(data, np.load(SQUARES_FILE))
    Path(MODEL_FILE).write_bytes(data)


if __name__ == "__main__":
    # Nothing may be downloaded, and no accelerator is looked for.
    os.environ |= {"HF_HUB_OFFLINE": "1", "JAX_PLATFORMS": "cpu"}
    main(sys.argv[1])
