from .choosing import choose as choose
from .frames import SweepTables as SweepTables
from .frames import compare as compare
from .plan import Arm as Arm
from .plan import Plan as Plan
from .store import read_curves as read_curves
from .store import read_results as read_results
