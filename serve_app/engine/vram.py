"""
How much GPU memory a model needs: computed from the header of its file, corrected by what a load really took.

A need is what the weights take in the compute type, CUDA itself, and the working memory of one chunk of 30 s: that is the least
with which a model does its work. Larger batches take more where there is more; where there is not, they are halved.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

CONTEXT_BYTES = 525 * 1024**2
"""CUDA's context, the libraries' kernels and their own memory: 550 MB on an H100, less on smaller devices."""

_POSITIONS = 1500  # of the encoder in 30 s
_TOKENS = 224  # most that the decoder writes about them
_BEAMS = 5
_HEAD_WIDTH = 64  # in every Whisper
_MOST_OFF = 2.0  # a load that took more than so many times the estimate was measured while others came

_LAYER = re.compile(r"decoder/layer_\d+/")

# Bytes of a weight and of every other number.
_WIDTHS = {
    "float32": (4, 4),
    "float16": (2, 2),
    "bfloat16": (2, 2),
    "int16": (2, 4),
    "int8": (1, 4),
    "int8_float32": (1, 4),
    "int8_float16": (1, 2),
    "int8_bfloat16": (1, 2),
}
_SCALE_BYTES = 4  # one for each row of an int8 matrix


@dataclass(frozen=True, slots=True)
class Shape:
    """
    What is in a `model.bin`, in numbers.

    Attributes:
        weights: Stored as the compute type says.
        rows: Rows of the matrices that these make up.
        others: Biases, norms and positions.
        layers: Of the decoder.
        width: Of its states.
    """

    weights: int
    rows: int
    others: int
    layers: int
    width: int


class VramNeeds:
    """What loads are checked against, by model id and compute type."""

    def __init__(self) -> None:
        self._taken: dict[tuple[str, str], int] = {}

    def need_bytes(self, model_id: str, directory: Path, compute_type: str) -> int:
        """
        Raises:
            OSError: There is no `model.bin` to read.
        """
        shape = read_shape(directory / "model.bin")
        weights = weight_bytes(shape, compute_type)
        resident = weights + CONTEXT_BYTES
        taken = self._taken.get((model_id, compute_type), resident)
        return round(min(max(taken, weights), _MOST_OFF * resident)) + working_bytes(shape, compute_type)

    def measured(self, model_id: str, compute_type: str, taken_bytes: int) -> None:
        """
        Tell what a load really took, in bytes: what the process held after its warm-up, less what it held before.

        Less than the weights, or more than twice the estimate, is not believed: others gave or took memory meanwhile.
        """
        self._taken[model_id, compute_type] = taken_bytes


def weight_bytes(shape: Shape, compute_type: str) -> int:
    """What weights take in a compute type of CTranslate2, in bytes: large-v3 in float16 takes 3.1 GB."""
    of_weight, of_other = _WIDTHS[compute_type]
    scales = shape.rows * _SCALE_BYTES if of_weight == 1 else 0
    return shape.weights * of_weight + scales + shape.others * of_other


def working_bytes(shape: Shape, compute_type: str) -> int:
    """
    What recognising one chunk of 30 s takes beside the weights, in bytes.

    The encoder's largest tensors, then the decoder's keys and values: of the audio once, of the text for each beam and twice,
    because each step writes those of the beams that go on anew. More than is taken: of the 126 MB of tiny.en in float32, a CPU
    takes 92.
    """
    width = _WIDTHS[compute_type][1]
    scores = 2 * (shape.width // _HEAD_WIDTH) * _POSITIONS**2
    feed_forward = 2 * _POSITIONS * 4 * shape.width
    cached = 2 * shape.layers * shape.width * (_POSITIONS + 2 * _BEAMS * _TOKENS)
    return width * max(scores + feed_forward, cached)


def read_shape(path: Path) -> Shape:
    """
    Read the header of a `model.bin` of CTranslate2, without its numbers; of a file that is none, only the size counts.

    The format is that of `ctranslate2/specs/model_spec.py`: version, name and revision of the specification, then each variable
    as name, dimensions, type, length and bytes.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        try:
            return _shape_of(dict(_variables(file)))
        except (struct.error, UnicodeDecodeError, KeyError, IndexError):
            # The load will say what is wrong with it; until then it counts as float16, as most are stored.
            return Shape(path.stat().st_size // 2, 0, 0, 0, 0)


def _shape_of(variables: dict[str, tuple[int, ...]]) -> Shape:
    weights = [dims for name, dims in variables.items() if name.endswith("weight")]
    others = [dims for name, dims in variables.items() if not name.endswith(("weight", "_scale"))]
    return Shape(
        weights=sum(map(math.prod, weights)),
        rows=sum(dims[0] for dims in weights),
        others=sum(map(math.prod, others)),
        layers=len({found[0] for found in map(_LAYER.match, variables) if found}),
        width=variables["decoder/embeddings/weight"][1],
    )


def _variables(file: BinaryIO) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and dimensions."""
    _take(file, "I")
    _text(file)
    _, count = _take(file, "II")
    for _ in range(count):
        name = _text(file)
        (rank,) = _take(file, "B")
        dims = _take(file, f"{rank}I")
        _, length = _take(file, "BI")
        file.seek(length, 1)
        yield name, dims


def _text(file: BinaryIO) -> str:
    (length,) = _take(file, "H")
    return file.read(length).rstrip(b"\0").decode()


def _take(file: BinaryIO, form: str) -> tuple[int, ...]:
    form = f"<{form}"
    return struct.unpack(form, file.read(struct.calcsize(form)))
