"""Which network to take, from what sweeps have shown."""

from __future__ import annotations

from dataclasses import replace

from lit_adaptconv.errors import UserError
from lit_adaptconv.measure.latency import Runtime, apart, read_latencies, seconds_of
from lit_adaptconv.sweep.frames import Source, folder_of, read_sweep
from lit_adaptconv.verdict import choice
from lit_adaptconv.verdict.choice import Choice


def choose(
    *sources: Source,
    at_most: int | None = None,
    flops: int | None = None,
    latency: str | None = None,
    runtime: Runtime = "onnx",
    margin: float | None = None,
) -> Choice:
    """Say which network of a sweep to take, and which others are not ruled out.

    Args:
        sources: Folders of sweeps, finished or not, or their plans. For several sweeps, on different data, there is one
            choice per sweep, and one of an arm for all together.
        at_most: The most trainable parameters that the network may have.
        flops: The most FLOPs that a forward pass of one sample may take.
        latency: The most time that one image may take, such as "2ms", as `adaptconv latency` measured it.
        runtime: The runtime of that latency: "onnx" or "torch".
        margin: Difference of the test metric that does not matter: in percentage points for a share such as accuracy,
            otherwise in the metric's own unit. By default the margin of the first sweep's question.

    Returns:
        A `Choice`: its `sentences` say which network to take, and its `table` has those that are not ruled out.

    Raises:
        UserError: A source is not a sweep, has no trial or no network within the limits, or too few of its seeds
            trained; or different metrics judge the sweeps.

    Examples:
        >>> choice = choose("docs/results/digits", at_most=800)  # in a clone of the repository
        >>> len(choice.sentences) > 0
        True
    """
    if not sources:
        raise UserError("name at least one sweep, such as runs/digits")
    most = None if latency is None else seconds_of("latency", latency)
    found = []
    metrics = []
    places = []
    margins = []
    for source in sources:
        made, results, _ = read_sweep(folder_of(source))
        found.append((made.name, made.data, choice.networks_of(results, made.metric, runtime)))
        places.append(read_latencies(folder_of(source)))
        metrics.append(made.metric)
        margins.append(made.question.metric_margin(made.metric))
    metric = metrics[0]
    for other in metrics[1:]:
        if (other.name, other.mode) != (metric.name, metric.mode):
            raise UserError(
                f"the sweeps are judged by {metric.name} ({metric.mode}) and {other.name} ({other.mode}): "
                "choose from sweeps of one metric"
            )
    given = margins[0] if margin is None else margin / metric.scale
    chosen = choice.choose(found, metric, at_most=at_most, flops=flops, latency=most, margin=given)
    note = apart(places)
    return chosen if note is None else replace(chosen, unknown=(*chosen.unknown, note))
