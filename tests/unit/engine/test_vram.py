"""How much GPU memory a model needs."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from serve_app.engine.vram import CONTEXT_BYTES, Shape, VramNeeds, read_shape, weight_bytes, working_bytes
from serve_app.models.sources import find_model
from serve_app.settings import TINY_EN

GB = 10**9
LARGE_V3 = Shape(weights=1_541_000_000, rows=900_000, others=2_500_000, layers=32, width=1280)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of tiny.en."""
    return find_model(TINY_EN, models_dir=tmp_path_factory.mktemp("none"), offline=True).directory


def written(path: Path, variables: dict[str, tuple[int, ...]]) -> Path:
    """A `model.bin` of zeros in float16."""
    with path.open("wb") as file:
        file.write(struct.pack("<I", 6) + _text("WhisperSpec") + struct.pack("<II", 3, len(variables)))
        for name, dims in variables.items():
            count = 1
            for dim in dims:
                count *= dim
            file.write(_text(name) + struct.pack(f"<B{len(dims)}IBI", len(dims), *dims, 4, 2 * count))
            file.write(bytes(2 * count))
    return path


def _text(value: str) -> bytes:
    return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"


def test_a_real_model_is_as_large_as_its_file(tiny: Path) -> None:
    file_bytes = (tiny / "model.bin").stat().st_size  # stored in float16
    shape = read_shape(tiny / "model.bin")

    assert weight_bytes(shape, "float16") == pytest.approx(file_bytes, rel=0.001)
    assert weight_bytes(shape, "float32") == 2 * weight_bytes(shape, "float16")
    assert (shape.layers, shape.width) == (4, 384)


def test_int8_takes_half_of_float16_and_the_scales(tiny: Path) -> None:
    shape = read_shape(tiny / "model.bin")
    half = weight_bytes(shape, "float16") / 2

    assert half < weight_bytes(shape, "int8_float16") < 1.05 * half
    assert weight_bytes(shape, "int8_float16") < weight_bytes(shape, "int8") < 1.1 * half


def test_weights_biases_and_scales_are_told_apart(tmp_path: Path) -> None:
    path = written(
        tmp_path / "model.bin",
        {
            "decoder/embeddings/weight": (10, 64),
            "decoder/embeddings/weight_scale": (10,),
            "decoder/layer_0/ffn/linear_0/weight": (4, 64),
            "decoder/layer_0/ffn/linear_0/bias": (4,),
            "decoder/layer_norm/beta": (3,),
            "decoder/num_heads": (),
            "encoder/layer_0/ffn/linear_0/weight": (2, 64),
        },
    )

    assert read_shape(path) == Shape(weights=16 * 64, rows=16, others=8, layers=1, width=64)


@pytest.mark.parametrize("content", [b"", b"\x06\0\0\0no model" * 40], ids=["empty", "no model"])
def test_of_a_file_that_is_no_model_the_size_counts(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(content)

    assert weight_bytes(read_shape(path), "float16") == len(content)


def test_large_v3_in_float16_takes_3_gigabytes_and_its_work_six_tenths_of_one() -> None:
    assert weight_bytes(LARGE_V3, "float16") == pytest.approx(3.1 * GB, rel=0.01)
    assert working_bytes(LARGE_V3, "float16") == pytest.approx(0.61 * GB, rel=0.01)


def test_a_need_is_weights_cuda_and_working_memory(tiny: Path) -> None:
    shape = read_shape(tiny / "model.bin")

    assert VramNeeds().need_bytes("tiny.en", tiny, "float16") == (
        weight_bytes(shape, "float16") + CONTEXT_BYTES + working_bytes(shape, "float16")
    )


def test_what_a_load_took_corrects_the_need_of_this_model_in_this_type(tiny: Path) -> None:
    needs, estimates = VramNeeds(), VramNeeds()
    estimate = estimates.need_bytes("tiny.en", tiny, "float16")
    resident = weight_bytes(read_shape(tiny / "model.bin"), "float16") + CONTEXT_BYTES

    needs.measured("tiny.en", "float16", resident + 50_000_000)

    assert needs.need_bytes("tiny.en", tiny, "float16") == estimate + 50_000_000
    assert needs.need_bytes("tiny.en", tiny, "int8") == estimates.need_bytes("tiny.en", tiny, "int8")
    assert needs.need_bytes("other", tiny, "float16") == estimate


def test_what_cannot_be_is_not_believed(tiny: Path) -> None:
    needs = VramNeeds()
    shape = read_shape(tiny / "model.bin")
    weights, working = weight_bytes(shape, "float16"), working_bytes(shape, "float16")

    needs.measured("tiny.en", "float16", -3 * GB)
    assert needs.need_bytes("tiny.en", tiny, "float16") == weights + working
    needs.measured("tiny.en", "float16", 50 * GB)
    assert needs.need_bytes("tiny.en", tiny, "float16") == 2 * (weights + CONTEXT_BYTES) + working
