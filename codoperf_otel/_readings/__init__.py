"""What the operating system and the interpreter report about this process and the machine."""
