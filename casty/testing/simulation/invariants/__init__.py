"""Rules of a simulated cluster, and their common base."""
