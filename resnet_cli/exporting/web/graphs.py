"""The two graphs of a web folder: from a decoded image to the network's input, and from there to the outputs.

They are apart because WebGPU takes only the second. In WebAssembly the first takes 25 to 50 ms of processor time for a
photo of 500 x 375 pixels.
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from resnet_cli.engines.graph import GraphWriter
from resnet_cli.exported.metadata import IMAGES, RAW_IMAGES
from resnet_cli.exporting.onnx_writer.geometry import add_preprocessing
from resnet_cli.preprocess import Preprocess

#: Smaller constants stay as they are: they take no room.
_MIN_HALVED = 1024


def preprocessing_graph(preprocess: Preprocess) -> ModelProto:
    """From ``pictures``, uint8 [b x h x w x 3], to ``images``, float32 [b x 3 x s x s]."""
    graph, side = GraphWriter(), preprocess.crop_size
    add_preprocessing(graph, RAW_IMAGES, preprocess, name=IMAGES)
    return graph.build({RAW_IMAGES: (np.uint8, ["b", "h", "w", 3])}, {IMAGES: ["b", 3, side, side]})


def store_halves(proto: ModelProto) -> ModelProto:
    """Stores float32 weights in float16; the network converts them once, when it is loaded, and computes in float32.

    WebAssembly has no arithmetic in float16, and many graphics drivers have none either.
    """
    made = ModelProto()
    made.CopyFrom(proto)
    casts = []
    for constant in made.graph.initializer:
        if constant.data_type != TensorProto.FLOAT or np.prod(constant.dims) < _MIN_HALVED:
            continue
        name, half = constant.name, f"{constant.name}.half"
        constant.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(constant).astype(np.float16), half))
        casts.append(helper.make_node("Cast", [half], [name], name=f"{name}.cast", to=TensorProto.FLOAT))
    nodes = [*casts, *made.graph.node]
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    return made
