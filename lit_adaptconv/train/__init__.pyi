from .classifier import ImageClassifier as ImageClassifier
from .convergence import ConvergenceCallback as ConvergenceCallback
from .convert_callback import ConvertConvolutions as ConvertConvolutions
from .loading import load_run as load_run
from .result import RunResult as RunResult
from .schedules import OneCycle as OneCycle
