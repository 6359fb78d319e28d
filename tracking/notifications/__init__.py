"""Notifications: made from the event log, delivered to webhooks, by mail, and through Apprise."""
