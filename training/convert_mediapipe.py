"""Writes the weights of the face networks, ``src/kptalk/face/networks.safetensors``, from MediaPipe's own files.

    pip download mediapipe==0.10.21 --no-deps -d .data
    pip install tflite
    python training/convert_mediapipe.py .data/mediapipe-0.10.21-*.whl [OUTPUT]

A folder that the wheel was unpacked to, or ``site-packages``, does as well. Nothing of MediaPipe is executed: its
models are TFLite graphs, whose kernels are taken in the order in which our modules list their layers. The same wheel
gives the same bytes; ``DIGEST`` in ``src/kptalk/face/models.py`` is their SHA-256.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import tflite
import torch
from safetensors.torch import save
from torch import nn

from kptalk.face.models import NETWORKS, WEIGHTS
from kptalk.networks.face_landmarks import FaceLandmarkNetwork

FILES = {
    "short_range": "face_detection/face_detection_short_range.tflite",
    "full_range": "face_detection/face_detection_full_range_sparse.tflite",
    "landmarks": "face_landmark/face_landmark_with_attention.tflite",
    "selfie": "selfie_segmentation/selfie_segmentation.tflite",
}
# One entry, since safetensors writes several in any order.
HEADER = {
    "origin": "mediapipe 0.10.21 (Copyright The MediaPipe Authors, Apache-2.0), mediapipe/modules: "
    + ", ".join(FILES.values())
    + "; converted to safetensors, sparse kernels made dense"
}
OPERATORS = {number: name for name, number in vars(tflite.BuiltinOperator).items() if isinstance(number, int)}
DTYPES = {tflite.TensorType.FLOAT32: np.float32, tflite.TensorType.FLOAT16: np.float16}
WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "PRELU", "Convolution2DTransposeBias")
Operation = tuple[str, list[int], int, list[np.ndarray]]  # its name, inputs, output and arrays in torch's layout


def main(source: Path, output: Path = WEIGHTS) -> None:
    tensors = {}
    for name, network_class in NETWORKS.items():
        network = network_class()
        operations, outputs = read_graph(model_bytes(source, f"mediapipe/modules/{FILES[name]}"))
        if isinstance(network, FaceLandmarkNetwork):
            fill_landmarks(network, operations, outputs)
        else:
            fill(layers(network), [[operation for operation in operations if operation[0] in WEIGHTED]])
        for key, value in network.state_dict().items():
            if not torch.equal(value.half().float(), value):
                raise ValueError(f"{name}.{key} loses precision in float16")
            tensors[f"{name}.{key}"] = value.half().contiguous()
    output.write_bytes(save(tensors, HEADER))


def model_bytes(source: Path, name: str) -> bytes:
    """A file of the wheel."""
    if source.is_dir():
        return (source / name).read_bytes()
    with ZipFile(source) as wheel:
        return wheel.read(name)


def layers(*modules: nn.Module) -> list[nn.Module]:
    """The layers with weights, in their order."""
    kinds = nn.Conv2d | nn.ConvTranspose2d | nn.PReLU
    return [layer for module in modules for layer in module.modules() if isinstance(layer, kinds)]


def fill(wanted: list[nn.Module], stacks: list[list[Operation]]) -> None:
    """Give layers their arrays: those of as many stacks of operations as the layers have groups, side by side."""
    for layer, *operations in zip(wanted, *stacks, strict=True):
        parameters = [layer.weight] if isinstance(layer, nn.PReLU) else [layer.weight, layer.bias]
        for parameter, parts in zip(parameters, zip(*[arrays for *_, arrays in operations], strict=True), strict=True):
            value = torch.from_numpy(np.concatenate(parts))
            if value.shape != parameter.shape:
                raise ValueError(f"{layer} has {tuple(parameter.shape)}, the file {tuple(value.shape)}")
            parameter.data = value


def fill_landmarks(network: FaceLandmarkNetwork, operations: list[Operation], outputs: list[int]) -> None:
    """The regions and the parts are groups of one stack each; in the file every part has the whole way to itself."""
    names = ("mesh", "lips", "left_eye", "right_eye", "left_iris", "right_iris", "presence")
    ways = {name: way_to(output, operations) for name, output in zip(names, outputs, strict=True)}
    trunk = layers(network.stem, network.low, network.high, network.face, network.mesh)
    fill(trunk, [ways["mesh"]])
    fill([network.presence], [ways["presence"][-1:]])
    n = len(layers(network.regions))
    fill(layers(network.regions), [ways[name][:n] for name in ("lips", "left_eye", "right_eye")])
    parts = [ways[name][n:] for name in ("lips", "left_eye", "left_iris", "right_eye", "right_iris")]
    fill(layers(network.parts), [way[:-1] for way in parts])
    for layer, way in zip(network.points, parts, strict=True):
        fill([layer], [way[-1:]])


def way_to(output: int, operations: list[Operation]) -> list[Operation]:
    """The operations with weights that lead to an output, back to where a window is cut."""
    made_by, todo, found = {operation[2]: operation for operation in operations}, [output], {}
    while todo:
        tensor = todo.pop()
        if tensor in made_by and tensor not in found and made_by[tensor][0] != "TransformTensorBilinear":
            found[tensor] = made_by[tensor]
            if made_by[tensor][0] == "TransformLandmarks":
                todo += made_by[tensor][1][:1]  # not the window's matrix, which comes from the mesh
            else:
                todo += made_by[tensor][1]
    return [found[tensor] for tensor in sorted(found) if found[tensor][0] in WEIGHTED]


def read_graph(content: bytes) -> tuple[list[Operation], list[int]]:
    """The operations of a TFLite model, and its outputs' numbers; only those in WEIGHTED have arrays."""
    model = tflite.Model.GetRootAsModel(content, 0)
    graph = model.Subgraphs(0)
    constants = dict(read_constants(model, graph))
    operations: list[Operation] = []
    for number in range(graph.OperatorsLength()):
        operator = graph.Operators(number)
        code = model.OperatorCodes(operator.OpcodeIndex())
        kind = OPERATORS[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        kind = code.CustomCode().decode() if kind == "CUSTOM" else kind
        inputs, (output,) = operator.InputsAsNumpy().tolist(), operator.OutputsAsNumpy().tolist()
        if kind in ("DEQUANTIZE", "DENSIFY"):
            constants[output] = constants[inputs[0]].astype(np.float32)
        else:
            arrays = [constants[tensor] for tensor in inputs if tensor in constants] if kind in WEIGHTED else []
            operations.append((kind, inputs, output, in_torch_layout(kind, arrays)))
    return operations, graph.OutputsAsNumpy().tolist()


def in_torch_layout(kind: str, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """TFLite's kernels are (outputs, H, W, inputs), depthwise (1, H, W, channels), PReLU's slopes (1, 1, channels)."""
    if kind == "PRELU":
        return [arrays[0].reshape(-1)]
    if kind in ("DEPTHWISE_CONV_2D", "Convolution2DTransposeBias"):
        return [arrays[0].transpose(3, 0, 1, 2), *arrays[1:]]
    return [arrays[0].transpose(0, 3, 1, 2), *arrays[1:]] if arrays else []


def read_constants(model: tflite.Model, graph: tflite.SubGraph) -> Iterator[tuple[int, np.ndarray]]:
    """The tensors that are stored, by their numbers; other kinds than floating point hold sizes and are left out."""
    for number in range(graph.TensorsLength()):
        tensor = graph.Tensors(number)
        buffer = model.Buffers(tensor.Buffer())
        if buffer.DataLength() and tensor.Type() in DTYPES:
            values = np.frombuffer(buffer.DataAsNumpy().tobytes(), DTYPES[tensor.Type()])
            shape = tensor.ShapeAsNumpy().tolist() if tensor.ShapeLength() else []
            sparse = tensor.Sparsity()
            yield number, values.reshape(shape) if sparse is None else dense(sparse, shape, values)


def dense(sparse: tflite.SparsityParameters, shape: list[int], values: np.ndarray) -> np.ndarray:
    """An array stored sparsely: levels of dimensions, then of blocks in them, each dense or as compressed rows."""
    order = sparse.TraversalOrderAsNumpy().tolist()
    blocks = sparse.BlockMapAsNumpy().tolist() if sparse.BlockMapLength() else []
    levels = [sparse.DimMetadata(number) for number in range(sparse.DimMetadataLength())]
    segments = [vector(level.ArraySegmentsType(), level.ArraySegments()) for level in levels]
    indices = [vector(level.ArrayIndicesType(), level.ArrayIndices()) for level in levels]
    step = [1] * len(shape)
    for level, dimension in enumerate(blocks, len(shape)):
        step[dimension] = levels[level].DenseSize()
    out = np.zeros(shape, values.dtype)

    def walk(level: int, index: tuple[int, ...], parent: int) -> None:
        if level == len(levels):
            out[index] = values[parent]
            return
        dimension = order[level] if level < len(shape) else blocks[order[level] - len(shape)]
        stride = step[dimension] if level < len(shape) else 1
        if segments[level] is None:
            size = levels[level].DenseSize()
            children = ((parent * size + k, k) for k in range(size))
        else:
            children = (
                (k, int(indices[level][k])) for k in range(segments[level][parent], segments[level][parent + 1])
            )
        for child, k in children:
            moved = index[dimension] + k * stride
            walk(level + 1, (*index[:dimension], moved, *index[dimension + 1 :]), child)

    walk(0, (0,) * len(shape), 0)
    return out


def vector(kind: int, table: object) -> np.ndarray | None:
    """The numbers of one of TFLite's index vectors; None for a dense level, which has none."""
    if not kind:
        return None
    found = {1: tflite.Int32Vector, 2: tflite.Uint16Vector, 3: tflite.Uint8Vector}[kind]()
    found.Init(table.Bytes, table.Pos)
    return found.ValuesAsNumpy()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
