"""From camera to action: observation and instruction in, action tokens out."""
