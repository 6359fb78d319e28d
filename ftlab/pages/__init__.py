"""Reports as self-contained HTML pages: no script, nothing fetched, everything escaped."""

from ftlab.pages.check_page import check_page, waiting_page
from ftlab.pages.document import PAGE_POLICY
from ftlab.pages.token_page import token_page

__all__ = ["PAGE_POLICY", "check_page", "token_page", "waiting_page"]
