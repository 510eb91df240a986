"""What stands in an exported file beside the network: all that one needs to feed it and to read its answer."""

from __future__ import annotations

from typing import Any

from lit_adaptconv.data import ImageData
from lit_adaptconv.export.check import Agreement
from lit_adaptconv.measure.environment import versions
from lit_adaptconv.train.classifier import ImageClassifier


def describe(model: ImageClassifier, data: ImageData, agreement: Agreement, batch: str = "N") -> dict[str, Any]:
    """Describe a network in values that JSON knows.

    Args:
        model: The classifier.
        data: The data that it was trained on.
        agreement: What the comparison on test images found.
        batch: How many images go in at a time: "N", any number, or "1".
    """
    return {
        "classes": data.class_names,
        "input": f"images: float32 ({batch}, C, H, W); (pixel / 255 - mean) / std by channel, pixel from 0 to 255",
        "mean": list(data.mean),
        "std": list(data.std),
        "image_shape": list(model.image_shape),
        "output": f"logits: float32 ({batch}, classes); softmax gives probabilities",
        "backbone": type(model.network).__name__,
        "kind": model.kind,
        "kind_options": model.kind_options,
        "widths": list(model.widths),
        "budget": model.budget,
        "parameters": model.parameter_count,
        "flops": model.flops,
        "data": type(data).__name__,
        "test_accuracy": agreement.accuracy,
        "test_images": agreement.images,
        "largest_difference_from_torch": agreement.largest_difference,
        "versions": versions(),
    }
