"""``casty journal``: a look into a store, replays of its entities, shapes of their events, backups."""
