"""Parameter-budget sweeps: arms × budgets × seeds, trained under equal conditions and compared.

You can call the module itself: `lit_adaptconv.sweep(plan)` runs a sweep; see `lit_adaptconv.sweep.frames`.
"""

import sys
import types
from typing import Any

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


class _Callable(types.ModuleType):
    """A module of the same name as the function that people look for."""

    def __call__(self, source: Any, output: Any = None, *, engine: str = "local", workers: int | None = None) -> Any:
        """Run a sweep to its end, or continue it, and return its tables as data frames.

        A script that calls this needs the usual `if __name__ == "__main__":`, since the trials run in processes of
        their own.

        Args:
            source: A plan: its file, the name of a packaged one such as "sweeps/digits", its content, or a `Plan`. Or
                the folder of a sweep, which is continued.
            output: Folder of the sweep; by default the given one, or `runs/<name>`.
            engine: "local" runs trials on this machine, "ray" and "slurm" on a cluster.
            workers: Number of trials at the same time; by default one per GPU, or else one per core.

        Returns:
            A `lit_adaptconv.sweep.SweepTables`.

        Raises:
            UserError: The plan is not valid, or its data are not there. A failing trial is a row of `results`.
        """
        from lit_adaptconv.sweep.frames import sweep

        return sweep(source, output, engine=engine, workers=workers)  # type: ignore[arg-type]


sys.modules[__name__].__class__ = _Callable
