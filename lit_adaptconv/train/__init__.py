"""Training a network: the LightningModule, its schedules, the log of a run, its checkpoints, and tracking."""
