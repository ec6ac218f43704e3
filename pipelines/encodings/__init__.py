"""How the bytes of weights become fewer bytes and the same bytes again; pure, with numpy and zstandard alone.

`names` (the vocabulary: units, encodings, limits) costs nothing to import. `ladder` has `encode` and `decode` and
brings numpy: import it where frames are really packed or unpacked. The byte layout of every encoding is published in
`airgap-bundles/encodings.md`.
"""
