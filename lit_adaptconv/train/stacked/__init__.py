"""Several trainings of networks of one architecture, computed together."""
