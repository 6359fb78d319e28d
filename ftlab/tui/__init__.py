"""The terminal monitor, `ftlab monitor`: what is shown is plain data and text, and Textual only draws it."""
