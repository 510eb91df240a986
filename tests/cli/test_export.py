"""`adaptconv export`: what is written computes what PyTorch computes, says what it is, and nothing else is written."""

from __future__ import annotations

import importlib.util
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from adaptconv_cli.main import main
from torch import Tensor

from lit_adaptconv.data import Digits
from lit_adaptconv.export import onnx, program
from lit_adaptconv.layers.kinds import kinds
from lit_adaptconv.train.classifier import ImageClassifier

pytestmark = [pytest.mark.usefixtures("folder", "unchecked"), pytest.mark.filterwarnings("ignore")]
QUICK = ["--seconds", "0.01"]


@pytest.fixture(scope="module")
def exported_once() -> Callable[..., Any]:
    """Exports the checkpoint's network to ONNX, which takes seconds, the first time that it is asked for."""
    made: list[bytes] = []
    export = onnx.to_onnx

    def once(network: torch.nn.Module, image_shape: tuple[int, int, int]) -> Any:
        if not made:
            made.append(export(network, image_shape).SerializeToString())
        return pytest.importorskip("onnx").load_from_string(made[0])

    return once


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line]
    assert line.startswith("adaptconv: error: ")
    return line


@pytest.mark.slow
def test_onnxruntime_alone_reaches_the_accuracy_that_the_file_tells(
    checkpoint: Path,
    exported_once: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runtime = pytest.importorskip("onnxruntime")
    monkeypatch.setattr(onnx, "to_onnx", exported_once)
    assert main(["export", str(checkpoint), "--format", "onnx", "--output", "out/a.onnx", *QUICK]) == 0
    out = capsys.readouterr().out
    assert "Largest difference" in out
    session = runtime.InferenceSession("out/a.onnx")
    told = session.get_modelmeta().custom_metadata_map
    classes, mean, std = (json.loads(told[name]) for name in ("classes", "mean", "std"))
    assert classes == [str(digit) for digit in range(10)]
    assert json.loads(told["kind_options"]) == {"generator_size": 3}
    assert json.loads(told["largest_difference_from_torch"]) <= 1e-4
    data = Digits(image_size=16)
    test = data.load("test")
    pixels = test.source.images[test.indices].numpy()  # type: ignore[attr-defined]
    labels = test.source.labels[test.indices].numpy()
    images = ((pixels / 255 - np.array(mean)[:, None, None]) / np.array(std)[:, None, None]).astype(np.float32)
    (logits,) = session.run(None, {"images": images})
    accuracy = (logits.argmax(1) == labels).mean()
    assert accuracy == pytest.approx(json.loads(told["test_accuracy"]))
    result = json.loads((checkpoint.parent.parent / "result.json").read_text())
    assert accuracy == pytest.approx(result["test_value"])
    assert json.loads(told["parameters"]) == result["parameters"]
    (alone,) = session.run(None, {"images": images[:1]})
    np.testing.assert_allclose(alone, logits[:1], atol=1e-5)


@pytest.mark.slow
def test_adaptive_layers_become_standard_operators(checkpoint: Path) -> None:
    library = pytest.importorskip("onnx")
    assert main(["export", str(checkpoint), "--output", "a.onnx", "--test_images", "5", *QUICK]) == 0
    model = library.load("a.onnx")
    library.checker.check_model(model)
    assert {opset.domain: opset.version for opset in model.opset_import}[""] >= 18
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param  # any batch size
    assert not model.functions


@pytest.mark.slow
def test_int8_is_smaller_and_told_beside_float(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runtime = pytest.importorskip("onnxruntime")
    assert main(["export", str(checkpoint), "--output", "float.onnx", *QUICK]) == 0
    assert main(["export", str(checkpoint), "--output", "int8.onnx", "--quantize", "int8", *QUICK]) == 0
    assert "int8" in capsys.readouterr().out
    assert Path("int8.onnx").stat().st_size < Path("float.onnx").stat().st_size
    quantised = pytest.importorskip("onnx").load("int8.onnx").graph
    products = [node for node in quantised.node if node.op_type == "Mul"]
    assert len(products) == 2  # one in each adaptive layer, and neither reads 8-bit numbers
    dequantised = {name for node in quantised.node if node.op_type == "DequantizeLinear" for name in node.output}
    assert not {name for node in products for name in node.input} & dequantised
    int8 = [tensor for tensor in quantised.initializer if tensor.data_type == 3 and tensor.name.endswith("_quantized")]
    assert len(int8) == 5  # two generators, three linear layers
    told = runtime.InferenceSession("int8.onnx").get_modelmeta().custom_metadata_map
    assert "training split" in told["quantization"]
    assert abs(json.loads(told["test_accuracy"]) - json.loads(told["float32_test_accuracy"])) < 0.05


@pytest.mark.slow
def test_a_program_of_pytorchs_needs_no_operator_of_this_package(checkpoint: Path) -> None:
    assert main(["export", str(checkpoint), "--format", "torch-export", "--output", "a.pt2", *QUICK]) == 0
    extra = {program.METADATA: ""}
    loaded = torch.export.load("a.pt2", extra_files=extra)
    called = {str(node.target) for node in loaded.graph.nodes if node.op == "call_function"}
    assert not any("lit_adaptconv" in name for name in called)
    assert json.loads(extra[program.METADATA])["kind"] == "adaptive"
    assert loaded.module()(torch.zeros(7, 1, 16, 16)).shape == (7, 10)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["executorch", "litert"])
def test_the_file_for_a_device_tells_how_to_feed_it_and_reaches_its_accuracy(
    format: str, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if format == "executorch":
        method = pytest.importorskip("executorch.runtime").Runtime.get().load_program
    else:
        method = pytest.importorskip("ai_edge_litert.interpreter").Interpreter
    capsys.readouterr()
    assert main(["export", str(checkpoint), "--format", format, "--output", "a.file", *QUICK]) == 0
    out, err = capsys.readouterr()
    assert "Largest difference" in out
    assert not err
    if format == "executorch":
        loaded = method("a.file")
        (text,) = loaded.load_method("metadata").execute([])
        answer = lambda image: loaded.load_method("forward").execute([torch.from_numpy(image)])[0].numpy()  # noqa: E731
    else:
        text = zipfile.ZipFile("a.file").read("metadata.json")
        loaded = method("a.file")
        loaded.allocate_tensors()

        def answer(image: Any) -> Any:
            loaded.set_tensor(loaded.get_input_details()[0]["index"], image)
            loaded.invoke()
            return loaded.get_tensor(loaded.get_output_details()[0]["index"])

    told = json.loads(text)
    assert told["image_shape"] == [1, 16, 16]
    assert "(1, C, H, W)" in told["input"]
    test = Digits(image_size=16).load("test")
    pixels = test.source.images[test.indices].numpy()  # type: ignore[attr-defined]
    labels = test.source.labels[test.indices].numpy()
    mean, std = (np.array(told[name])[:, None, None] for name in ("mean", "std"))
    images = ((pixels / 255 - mean) / std).astype(np.float32).copy()  # in the order of its shape
    found = np.array([answer(images[i : i + 1])[0].argmax() for i in range(len(images))])
    assert (found == labels).mean() == pytest.approx(told["test_accuracy"])


def test_a_difference_is_an_error_and_leaves_no_file(
    checkpoint: Path,
    exported_once: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(onnx, "to_onnx", exported_once)
    right = onnx.runtime

    def wrong(model: Any) -> Any:
        run = right(model)

        def off(images: Tensor) -> Tensor:
            return run(images) + 1e-3

        return off

    monkeypatch.setattr(onnx, "runtime", wrong)
    Path("a.onnx").write_text("before")
    assert main(["export", str(checkpoint), "--output", "a.onnx", *QUICK]) == 1
    line = one_line(capsys)
    assert "1.0e-03" in line
    assert "0.0001" in line
    assert [path.name for path in Path().iterdir()] == ["a.onnx"]
    assert Path("a.onnx").read_text() == "before"


def test_a_missing_package_is_named_with_the_extra(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else find(name))
    assert main(["export", str(checkpoint), "--output", "a.onnx"]) == 1
    line = one_line(capsys)
    assert "needs onnxruntime" in line
    assert "lit-adaptconv[onnx]" in line


class LooksAtItsInput(torch.nn.Module):
    """Chooses what to compute by the values of its input, which no exporter can follow."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) if images.sum() > 0 else -images.flatten(1)


@pytest.mark.parametrize("to", [onnx.to_onnx, program.to_program])
def test_a_network_that_cannot_be_exported_says_why_in_one_line(to: Any) -> None:
    with pytest.raises(ValueError, match="^LooksAtItsInput cannot be exported") as raised:
        to(LooksAtItsInput(), (1, 2, 2))
    assert "\n" not in str(raised.value)
    assert "data-dependent" in str(raised.value)


def saved(name: str, **changes: Any) -> str:
    """A checkpoint of the default network, changed."""
    state = {name: value.clone() for name, value in ImageClassifier(image_size=(28, 28)).state_dict().items()}
    torch.save({"state_dict": state, "image_shape": [1, 28, 28], **changes}, name)
    return name


def test_bad_input_is_one_line_and_writes_nothing(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("text.ckpt").write_text("no checkpoint")
    content = checkpoint.read_bytes()
    Path("half.ckpt").write_bytes(content[: len(content) // 2])
    Path("copy.ckpt").write_bytes(content)
    Path("file").write_text("")
    Path("folder").mkdir()
    older = {f"old_name.{name}": value for name, value in ImageClassifier().state_dict().items()}
    given = str(checkpoint)
    for arguments, status, words in (
        ([], 1, ["export", "checkpoint"]),
        (["--output", "x.onnx"], 1, ["export", "checkpoint"]),
        ([given], 1, ["--output"]),
        (["nowhere.ckpt", "--output", "x.onnx"], 1, ["no checkpoint at nowhere.ckpt"]),
        (["text.ckpt", "--output", "x.onnx"], 1, ["text.ckpt", "not a checkpoint"]),
        (["half.ckpt", "--output", "x.onnx"], 1, ["half.ckpt", "damaged"]),
        (["copy.ckpt", "--output", "x.onnx"], 1, ["1×16×16", "1×28×28"]),
        ([saved("other.ckpt", state_dict=older), "--output", "x.onnx"], 1, ["another network", "config.yaml"]),
        ([given, "--output", "folder"], 1, ["folder", "name of a file"]),
        ([given, "--output", "file/x.onnx"], 1, ["file/x.onnx", "cannot be written"]),
        ([given, "--format", "tflite", "--output", "x.tflite"], 2, ["format", "onnx", "torch-export"]),
        ([given, "--quantize", "int4", "--output", "x.onnx"], 2, ["quantize", "int8"]),
        ([given, "--format", "torch-export", "--quantize", "int8", "--output", "x.pt2"], 1, ["--format onnx"]),
        ([given, "--format", "litert", "--quantize", "int8", "--output", "x.tflite"], 1, ["--format executorch"]),
        ([given, "--test_images", "0", "--output", "x.onnx"], 1, ["test_images", "at least 1"]),
        ([given, "--threads", "0", "--output", "x.onnx"], 1, ["threads", "at least 1"]),
    ):
        capsys.readouterr()
        assert main(["export", *arguments]) == status, arguments
        line = one_line(capsys)
        assert all(word in line for word in words), line
    assert not list(Path().rglob("x.*"))
    assert not list(Path().rglob("*.tmp"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in kinds() if kind.startswith("adaptive")])
def test_every_adaptive_kind_exports_to_a_program(kind: str) -> None:
    torch.manual_seed(0)
    model = ImageClassifier(kind=kind, width=0.5, image_size=(12, 12)).eval()
    run = program.load(program.save(program.to_program(model.network, (1, 12, 12)), {}))
    images = torch.randn(3, 1, 12, 12)
    torch.testing.assert_close(run(images), model(images), rtol=1e-4, atol=1e-5)
