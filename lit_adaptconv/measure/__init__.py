"""Counting and timing: parameters, FLOPs, memory and time of any module. It knows no backbone."""
