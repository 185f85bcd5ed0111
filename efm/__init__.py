"""Robots that practise by themselves: the public Python API and the command line."""
