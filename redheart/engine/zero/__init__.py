"""The engine under DeepSpeed: its configuration, its extensions, and what of its insides is touched."""
