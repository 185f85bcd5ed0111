"""One module for each experiment of the catalogue, and what only it needs."""
