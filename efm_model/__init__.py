"""The embodied foundation model: tokenisers, towers, heads, checkpoints, ONNX export."""
