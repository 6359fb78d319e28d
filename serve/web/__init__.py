"""The web app: its built files, and how they are sent. Its source is in `app/`."""
