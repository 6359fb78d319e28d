"""HTTP mechanics shared by all routes: bodies, queries, errors, replies, middleware."""
