"""Implementations of the adaptive convolution; `reference` is the definition."""
