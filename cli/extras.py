"""Which optional part of the installation a missing package belongs to."""

from __future__ import annotations

EXTRAS = {
    "pyarrow": "sweep",
    "scipy": "sweep",
    "optuna": "sweep",
    "plotly": "report",
    "kaleido": "report",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "onnxscript": "onnx",
    "ray": "ray",
}


def missing_extra(error: ModuleNotFoundError) -> str | None:
    """Say in a line which extra brings a package that is not there; None if none does."""
    package = (error.name or "").partition(".")[0]
    extra = EXTRAS.get(package)
    return None if extra is None else f"{package} is needed: pip install 'lit-adaptconv[{extra}]'"
