"""The model zoo: what models there are, how they come in, and how ours go out."""
