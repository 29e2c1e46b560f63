"""The command line: one small file a verb, joined in app.py."""
