"""Sweeps: arms × budgets × seeds."""
