"""Who a caller is, and what each route allows them."""
