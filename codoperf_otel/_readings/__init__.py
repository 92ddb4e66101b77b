"""What the operating system and the interpreter tell about this process."""
