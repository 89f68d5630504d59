"""Facts about labels: where they come from, what of them can be seen, where they are kept."""
