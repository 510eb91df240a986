from __future__ import annotations

import csv
from pathlib import Path

from lit_adaptconv.train.metrics_csv import MetricsCSV


def test_a_step_is_a_row_and_a_metric_a_column(tmp_path: Path) -> None:
    logger = MetricsCSV(str(tmp_path), "run", "1")
    logger.log_metrics({"train/loss": 1.5, "epoch": 0}, step=9)
    logger.log_metrics({"val/accuracy": 0.25}, step=9)
    logger.log_metrics({"train/loss": 0.1, "epoch": 1}, step=19)
    logger.finalize("success")
    assert logger.log_dir == str(tmp_path / "run" / "1")
    with (tmp_path / "run" / "1" / "metrics.csv").open() as file:
        assert list(csv.reader(file)) == [
            ["step", "epoch", "train/loss", "val/accuracy"],
            ["9", "0", "1.5", "0.25"],
            ["19", "1", "0.1", ""],
        ]


def test_every_digit_of_a_number_is_kept(tmp_path: Path) -> None:
    logger = MetricsCSV(str(tmp_path), "run", "1")
    logger.log_metrics({"loss": 0.1 + 0.2}, step=0)
    logger.write()
    row = (tmp_path / "run" / "1" / "metrics.csv").read_text().splitlines()[1]
    assert float(row.split(",")[-1]) == 0.1 + 0.2


def test_a_run_that_logged_nothing_has_no_file(tmp_path: Path) -> None:
    MetricsCSV(str(tmp_path), "run", "1").finalize("success")
    assert not (tmp_path / "run").exists()
