"""The command line: one thin function a command; torch is imported only by commands that need it."""
