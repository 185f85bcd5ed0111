"""One policy for many robots, over gRPC: the server, and the robot's side of it."""
