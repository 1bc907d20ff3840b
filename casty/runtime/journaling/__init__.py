"""The journal of a system, as its actors share it: claims, recoveries, ids in use."""
