from .budget import Budget as Budget
from .count import FlopMeter as FlopMeter
from .count import Flops as Flops
from .count import count_bytes as count_bytes
from .count import count_flops as count_flops
from .count import count_parameters as count_parameters
from .count import forward_flops as forward_flops
