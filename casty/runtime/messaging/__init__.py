"""Messages on their way to an actor: refs, mailboxes, asks, signals, and their deadlines."""
