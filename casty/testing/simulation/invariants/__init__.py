"""What must hold in a simulated cluster: the rules, and what all of them share."""
