"""Who asks: signing in, sessions, tokens, limits, and what is recorded of whoever was turned away."""
