"""A dataset's file as bytes and text: its items as JSON, what it is where it is no JSON, and other forms of what it holds."""
