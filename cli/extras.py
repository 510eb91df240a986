"""Which optional part of the installation a missing package belongs to."""

from __future__ import annotations

EXTRAS = {
    "pandas": "sweep",
    "pyarrow": "sweep",
    "scipy": "sweep",
    "plotly": "report",
    "kaleido": "report",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "onnxscript": "onnx",
    "executorch": "executorch",
    "litert_torch": "litert",
    "ai_edge_litert": "litert",
    "ray": "ray",
    "submitit": "slurm",
}


def missing_extra(error: Exception) -> str | None:
    """Say in a line which extra brings the package that is not there; None for any other error."""
    package = (getattr(error, "name", None) or "").partition(".")[0] if isinstance(error, ImportError) else ""
    extra = EXTRAS.get(package)
    return None if extra is None else f"{package} is needed: pip install 'lit-adaptconv[{extra}]'"
