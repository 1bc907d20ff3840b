"""``casty journal``: a look into a store, replays of its entities, and the shapes of their events."""
