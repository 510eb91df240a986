"""Parameter-budget sweeps: arms × budgets × seeds, trained under equal conditions and compared."""
