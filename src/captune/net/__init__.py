"""The network: which URLs may be opened, and reading images and long files behind them."""
