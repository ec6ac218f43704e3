"""What people see in a browser: made here, on the server, from the same functions that commands call."""
