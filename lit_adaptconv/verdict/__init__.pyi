from .verdict import Verdict as Verdict
from .verdict import verdict_of as verdict_of
