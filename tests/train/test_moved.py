"""Configurations that were written when classes stood elsewhere."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import yaml
from sweep_cases import maker

from lit_adaptconv.data import Digits
from lit_adaptconv.models import ResNet8
from lit_adaptconv.sweep.reading import read_plan
from lit_adaptconv.sweep.sizing import networks
from lit_adaptconv.train.moved import MOVED

NAMES = {
    "lit_adaptconv.backbones.ConvNet": "lit_adaptconv.models.ConvNet",
    "lit_adaptconv.backbones.cifar_resnet.ResNet8": "lit_adaptconv.models.ResNet8",
    "lit_adaptconv.schedules.OneCycle": "lit_adaptconv.train.OneCycle",
    "lit_adaptconv.convert_callback.ConvertConvolutions": "lit_adaptconv.train.ConvertConvolutions",
}


@pytest.mark.parametrize("before", MOVED)
def test_a_module_that_has_moved_has_what_it_had(before: str) -> None:
    old, new = importlib.import_module(before), importlib.import_module(MOVED[before])
    names = [name for name, value in vars(new).items() if isinstance(value, type) and value.__module__ == new.__name__]
    assert all(getattr(old, name) is getattr(new, name) for name in names)
    with pytest.raises(AttributeError):
        getattr(old, "nothing")  # noqa: B009


def test_a_plan_with_the_former_names_has_the_same_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # as the command does
    convert = {"class_path": "lit_adaptconv.train.ConvertConvolutions", "init_args": {"kind": "adaptive"}}
    arms = {"standard": {}, "shallow": {"backbone": "lit_adaptconv.models.ResNet8"}}
    now = {
        "name": "old",
        "arms": arms,
        "backbone": {"class_path": "lit_adaptconv.models.ConvNet"},
        "scheduler": {"class_path": "lit_adaptconv.train.OneCycle"},
        "trainer": {"callbacks": [convert]},
    }
    text = yaml.safe_dump(now, sort_keys=False)
    for old, new in NAMES.items():
        assert new in text
        text = text.replace(new, old)
    (tmp_path / "plan.yaml").write_text(text)
    before, after = (maker(read_plan(source)) for source in (tmp_path / "plan.yaml", now))
    assert [trial.id for trial in before.all()] == [trial.id for trial in after.all()]
    network = networks(before.plan, Digits())["shallow"].build({}, meta=True)
    assert type(network.network) is ResNet8
