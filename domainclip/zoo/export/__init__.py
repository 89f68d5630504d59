"""Models for the tools that others use: written, read back with that tool, and compared."""

TARGETS = ("open_clip", "transformers", "onnx", "safetensors", "pybioclip")
"""The tools."""
DTYPES = ("float32", "float16", "bfloat16", "int8")
"""Number formats of weights."""
