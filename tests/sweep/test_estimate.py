"""How long a sweep will take, before anything of it was trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from adaptconv_cli.main import main

PLAN = {
    "name": "tiny",
    "data": {"class_path": "Digits", "init_args": {"image_size": 8}},
    "backbone": {"class_path": "ConvNet", "init_args": {"channels": [3, 4], "pool_after": [0]}},
    "arms": {"standard": {"kind": "standard"}, "adaptive": {"kind": "adaptive"}},
    "budgets": [300, 600, 1200],
    "seeds": 2,
    "targets": [0.9],
    "trainer": {"max_epochs": 2, "accelerator": "cpu"},
}


def test_a_probe_tells_before_anything_was_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("lit_adaptconv.sweep.estimate.PROBE_SECONDS", 0.01)
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(PLAN))
    threads = torch.get_num_threads()
    sweep = ["sweep", "--config", str(tmp_path / "plan.yaml"), "--output", str(tmp_path / "out"), "--dry-run"]
    assert main(sweep) == 0
    out = capsys.readouterr().out
    assert "(from a probe of 4 networks)" in out  # of each arm the smallest and the largest
    assert torch.get_num_threads() == threads
    assert not list((tmp_path / "out").rglob("trials/*"))
