"""Other programs' ways to our networks, one a file; each needs the program itself and is imported when asked for."""
