"""What tills send: the machine API, checked, stored, then applied."""
