"""Rules of casty's own extensions: watches over nodes, and listings of services."""
