"""WHO vouches for these bytes: keys, signatures, trust. Knows no models."""
