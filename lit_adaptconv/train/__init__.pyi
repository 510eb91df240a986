from .classifier import ImageClassifier as ImageClassifier
from .convergence import ConvergenceCallback as ConvergenceCallback
from .convert_callback import ConvertConvolutions as ConvertConvolutions
from .loading import load_run as load_run
from .muon import MuonAdamW as MuonAdamW
from .result import RunResult as RunResult
from .schedules import OneCycle as OneCycle
from .schedules import WarmupCosine as WarmupCosine
