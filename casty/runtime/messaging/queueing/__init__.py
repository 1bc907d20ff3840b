"""Content of a mailbox: a queue for each sender, its costs, and notices among the messages."""
