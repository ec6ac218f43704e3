"""The command line: one file per noun, found by its name. This one gathers them."""
