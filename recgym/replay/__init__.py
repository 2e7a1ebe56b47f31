"""The session inspector: one shopper's session, page by page, and why it went so."""
