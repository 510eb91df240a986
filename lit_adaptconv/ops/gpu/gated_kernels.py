"""The kernels of `gated_sum`: tiles of pixels by output channels, in either order of memory."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,assignment"

from __future__ import annotations

import triton
import triton.language as tl

from lit_adaptconv.ops.gpu.tanh import tanh


@triton.jit
def activated(x, activation: tl.constexpr, how: tl.constexpr):
    """Pass gates through their activation."""
    if activation == "tanh":
        x = tanh(x, how)
    elif activation == "sigmoid":
        x = 1 / (1 + tl.exp(-x))
    return x


@triton.jit
def slope(gate, activation: tl.constexpr):
    """Derivative of the activation where it gave `gate`."""
    if activation == "tanh":
        out = 1 - gate * gate
    elif activation == "sigmoid":
        out = gate * (1 - gate)
    else:
        out = tl.full(gate.shape, 1, gate.dtype)
    return out


@triton.jit
def places(channel, r, rank: tl.constexpr, groups: tl.constexpr, each: tl.constexpr, gates: tl.constexpr,
           stacked: tl.constexpr):  # fmt: skip
    """For output channels and a rank: the channels of gate and values, and the column of the gate's bias.

    A group has `each` output channels and `gates` gates, as many or one; `stacked`, its values come after its gates.
    """
    behind: tl.constexpr = rank * gates if stacked else 0
    if groups == 1:
        group, within = 0, channel
    else:
        group, within = channel // each, channel % each
    of_group = tl.zeros_like(within) if gates == 1 else within
    gate = group * (rank * gates + (rank * each if stacked else 0)) + r * gates + of_group
    value = group * (rank * each + behind) + behind + r * each + within
    return gate, value, r * (groups * gates) + group * gates + of_group


@triton.jit
def gated_sum_kernel(
    gates_in,
    values_in,
    gate_bias,
    bias,
    out,
    pixels,
    area,
    gate_image,
    gate_channel,
    gate_pixel,
    value_image,
    value_channel,
    value_pixel,
    out_image,
    out_channel,
    out_pixel,
    channels: tl.constexpr,
    rank: tl.constexpr,
    groups: tl.constexpr,
    gates: tl.constexpr,
    stacked: tl.constexpr,
    biased: tl.constexpr,
    activation: tl.constexpr,
    how: tl.constexpr,
    real: tl.constexpr,
    index: tl.constexpr,
    block_pixels: tl.constexpr,
    block_channels: tl.constexpr,
):
    """Each program makes a tile of the output."""
    tiles: tl.constexpr = (channels + block_channels - 1) // block_channels
    each: tl.constexpr = channels // groups
    program = tl.program_id(0)
    channel = program % tiles * block_channels + tl.arange(0, block_channels)
    p = (program // tiles).to(index) * block_pixels + tl.arange(0, block_pixels)
    image, at = (p // area)[:, None], (p % area)[:, None]
    kept = channel < channels
    mask = (p < pixels)[:, None] & kept[None, :]
    total = tl.zeros([block_pixels, block_channels], real)
    for r in range(rank):
        gate_at, value_at, column = places(channel, r, rank, groups, each, gates, stacked)
        gate = tl.load(
            gates_in + (image * gate_image + at * gate_pixel + gate_at.to(index)[None, :] * gate_channel),
            mask=mask,
            other=0.0,
        ).to(real)
        values = tl.load(
            values_in + (image * value_image + at * value_pixel + value_at.to(index)[None, :] * value_channel),
            mask=mask,
            other=0.0,
        ).to(real)
        gate += tl.load(gate_bias + column, mask=kept, other=0.0).to(real)[None, :]
        total += activated(gate, activation, how) * values
    if biased:
        total += tl.load(bias + channel, mask=kept, other=0.0).to(real)[None, :]
    to = image * out_image + at * out_pixel + channel.to(index)[None, :] * out_channel
    tl.store(out + to, total.to(out.dtype.element_ty), mask=mask)


@triton.jit
def gated_sum_backward_kernel(
    grad,
    gates_in,
    values_in,
    gate_bias,
    d_gates,
    d_values,
    parts,
    pixels,
    area,
    tiles_each,
    grad_image,
    grad_channel,
    grad_pixel,
    gate_image,
    gate_channel,
    gate_pixel,
    value_image,
    value_channel,
    value_pixel,
    channels: tl.constexpr,
    rank: tl.constexpr,
    groups: tl.constexpr,
    gates: tl.constexpr,
    stacked: tl.constexpr,
    summed: tl.constexpr,
    activation: tl.constexpr,
    how: tl.constexpr,
    real: tl.constexpr,
    index: tl.constexpr,
    block_pixels: tl.constexpr,
    block_channels: tl.constexpr,
):
    """Each program computes `tiles_each` tiles of one rank, and their sums for the biases: a row of `parts`.

    Where a group shares its gate, a tile has all of the group's channels and no other.
    """
    each: tl.constexpr = channels // groups
    shared: tl.constexpr = gates < each
    tiles: tl.constexpr = groups if shared else (channels + block_channels - 1) // block_channels
    columns: tl.constexpr = rank * groups * gates + channels
    program = tl.program_id(0)
    r = program // tiles % rank
    row = program // (tiles * rank)
    lane = tl.arange(0, block_channels)
    if shared:
        channel = program % tiles * each + lane
        kept = lane < each
    else:
        channel = program % tiles * block_channels + lane
        kept = channel < channels
    gate_at, value_at, column = places(channel, r, rank, groups, each, gates, stacked)
    gate_at, value_at = gate_at.to(index)[None, :], value_at.to(index)[None, :]
    shift = tl.load(gate_bias + column, mask=kept, other=0.0).to(real)[None, :]
    gate_sums = tl.zeros([block_pixels, block_channels], real)
    grad_sums = tl.zeros([block_pixels, block_channels], real)
    p = row.to(index) * tiles_each * block_pixels + tl.arange(0, block_pixels)
    for _ in range(tiles_each):
        image, at = (p // area)[:, None], (p % area)[:, None]
        valid = (p < pixels)[:, None]
        mask = valid & kept[None, :]
        d = tl.load(
            grad + (image * grad_image + at * grad_pixel + channel.to(index)[None, :] * grad_channel),
            mask=mask,
            other=0.0,
        ).to(real)
        gate_to = image * gate_image + at * gate_pixel + gate_at * gate_channel
        value_to = image * value_image + at * value_pixel + value_at * value_channel
        gate = activated(tl.load(gates_in + gate_to, mask=mask, other=0.0).to(real) + shift, activation, how)
        values = tl.load(values_in + value_to, mask=mask, other=0.0).to(real)
        tl.store(d_values + value_to, (d * gate).to(d_values.dtype.element_ty), mask=mask)
        # Beyond the last pixel, a bias that is NaN or infinite must not count.
        dz = tl.where(mask, d * values * slope(gate, activation), 0.0)
        if shared:
            first = lane[None, :] == 0
            total = tl.sum(dz, 1)[:, None] + tl.zeros_like(dz)
            tl.store(d_gates + gate_to, total.to(d_gates.dtype.element_ty), mask=valid & first)
        else:
            tl.store(d_gates + gate_to, dz.to(d_gates.dtype.element_ty), mask=mask)
        if summed:
            gate_sums += dz
            grad_sums += d
        p += block_pixels
    if summed:
        to = parts + row.to(tl.int64) * columns
        of_gates = tl.sum(gate_sums, 0)
        if shared:
            tl.store(to + r * groups + program % tiles, tl.sum(of_gates, 0))
        else:
            tl.store(to + column, of_gates, mask=kept)
        tl.store(to + rank * groups * gates + channel, tl.sum(grad_sums, 0), mask=kept & (r == 0))


@triton.jit
def add_rows_kernel(
    parts,
    d_gate_bias,
    d_bias,
    rows,
    gates: tl.constexpr,
    columns: tl.constexpr,
    real: tl.constexpr,
    block_rows: tl.constexpr,
    block_columns: tl.constexpr,
):
    """Add the rows of parts: the first `gates` columns for the gates' biases, the others for the outputs'."""
    column = tl.program_id(0) * block_columns + tl.arange(0, block_columns)
    row = tl.arange(0, block_rows)
    total = tl.zeros([block_rows, block_columns], real)
    for first in range(0, rows, block_rows):
        at = (first + row)[:, None]
        mask = (at < rows) & (column < columns)[None, :]
        total += tl.load(parts + at.to(tl.int64) * columns + column[None, :], mask=mask, other=0.0)
    sums = tl.sum(total, 0)
    tl.store(d_gate_bias + column, sums.to(d_gate_bias.dtype.element_ty), mask=column < gates)
    own = (column >= gates) & (column < columns)
    tl.store(d_bias + (column - gates), sums.to(d_bias.dtype.element_ty), mask=own)
