from .executorch import to_executorch as to_executorch
from .litert import to_litert as to_litert
from .onnx import to_onnx as to_onnx
from .program import to_program as to_program
from .quantize import quantize_int8 as quantize_int8
