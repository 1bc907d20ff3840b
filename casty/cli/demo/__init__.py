"""``casty demo``: count the words of a folder on a cluster of processes, and lose none when one is killed."""
