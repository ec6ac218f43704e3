"""What shows the product to a person: a real engine, tiny real models, and the walk through them."""
