"""The embodied foundation model: tokenisers, towers, heads, checkpoints and their export to ONNX."""
