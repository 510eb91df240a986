"""Memory that layers keep and use, against counts by hand."""

from __future__ import annotations

import sys

import pytest

from lit_adaptconv.errors import UserError
from lit_adaptconv.measure.candidate import STANDARD, Candidate, Shape, Step
from lit_adaptconv.measure.memory import CLEAR_REFS, KeptBytes, kept_for_backward, peak_of_steps

SHAPE = Shape(8, 4, 4, (20, 20), (3, 3), padding=(1, 1))
IMAGES = 8 * 4 * 20 * 20 * 4


def kept(text: str, shape: Shape = SHAPE) -> KeptBytes:
    return kept_for_backward(Step.of(Candidate.parse(text), shape))


def test_an_ordinary_convolution_keeps_its_input_and_its_weight() -> None:
    assert kept("standard") == KeptBytes(input=IMAGES, parameters=4 * 4 * 9 * 4, other=0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_fused_adaptive_convolution_keeps_its_input_and_its_generator(dtype: str) -> None:
    wide = 2 if dtype == "float64" else 1
    shape = Shape(8, 4, 4, (20, 20), (3, 3), padding=(1, 1), dtype=dtype)
    assert kept("adaptive@cpu", shape) == KeptBytes(
        input=IMAGES * wide, parameters=4 * 4 * 9 * (9 + 1) * 4 * wide, other=0
    )


def test_the_reference_keeps_a_kernel_for_every_pixel() -> None:
    assert kept("adaptive@reference").other >= 9 * 4 * IMAGES


def test_the_low_rank_layer_keeps_its_gates_and_values_beside_the_input() -> None:
    """Below a block of channels they come from one convolution, whose output is kept whole beside tanh's."""
    assert kept("adaptive_low_rank", Shape(8, 4, 16, (20, 20), (3, 3), padding=(1, 1))) == KeptBytes(
        input=IMAGES, parameters=2 * 4 * 16 * 9 * 4, other=2 * 4 * IMAGES
    )
    assert kept("adaptive_low_rank").other == 3 * IMAGES + 2 * 4 * 4 * 9 * 4  # and the stacked weights


@pytest.mark.slow
@pytest.mark.skipif(not CLEAR_REFS.exists(), reason="only Linux tells the high-water mark of a moment")
def test_the_peak_holds_input_output_and_both_gradients_and_the_references_far_more() -> None:
    shape = Shape(32, 8, 8, (64, 64), (3, 3), padding=(1, 1), groups=8)
    images = 32 * 8 * 64 * 64 * 4
    peaks = peak_of_steps([STANDARD, Candidate.parse("adaptive@cpu"), Candidate.parse("adaptive@reference")], shape, 1)
    standard, fused, reference = (peak or 0 for peak in peaks)
    assert standard > 3.5 * images
    assert 3.5 * images < fused < 1.3 * standard
    assert reference > 18 * images  # the unfolded patches and the kernels, nine for each pixel


def test_where_the_system_does_not_tell_there_is_no_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lit_adaptconv.measure.memory.CLEAR_REFS", CLEAR_REFS / "nowhere")
    assert peak_of_steps([STANDARD], SHAPE, 1) == [None]


@pytest.mark.skipif(not CLEAR_REFS.exists(), reason="elsewhere there is no such process")
def test_a_process_that_fails_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(UserError, match="measures memory"):
        peak_of_steps([STANDARD], SHAPE, 1)
