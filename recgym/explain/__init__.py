"""Which earlier events made it likely that a shopper clicks, buys or leaves."""
