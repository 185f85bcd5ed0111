"""The embodied foundation model: tokenisers, encoders, heads, checkpoints, ONNX export."""
