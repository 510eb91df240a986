from .onnx import to_onnx as to_onnx
from .program import to_program as to_program
from .quantize import quantize_int8 as quantize_int8
