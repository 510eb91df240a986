"""What runs trials: processes of this machine, or a cluster."""

from lit_adaptconv.sweep.engines.base import Engine as Engine
from lit_adaptconv.sweep.engines.base import Job as Job
from lit_adaptconv.sweep.engines.base import Outcome as Outcome
from lit_adaptconv.sweep.engines.base import RunTrial as RunTrial
