"""HOW models move and are judged: intake, scan, bundles, suites, promotion."""
