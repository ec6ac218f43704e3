"""From a pin to what the engines serve: a plan of steps, a journal, and the walk along it, forth or back."""
