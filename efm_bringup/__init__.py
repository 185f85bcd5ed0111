"""Starting it all: the node graph, the command line, the report."""
