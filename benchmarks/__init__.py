"""`make bench`: what Tidegate's long commands cost, as ratios to plain tools on the same machine in the same run."""
