from .count import FlopMeter as FlopMeter
from .count import Flops as Flops
from .count import count_flops as count_flops
from .count import count_parameters as count_parameters
from .count import forward_flops as forward_flops
