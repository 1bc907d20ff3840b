"""What waits in a mailbox: a queue for each sender, what it costs, and notices among the messages."""
