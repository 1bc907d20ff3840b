"""``casty cert``: a CA for a cluster, certificates of its nodes and clients, and a look at either."""
