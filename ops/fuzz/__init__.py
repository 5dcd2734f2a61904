"""Evil files and requests by the thousand: what people and attackers might send."""
