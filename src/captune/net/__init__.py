"""The network: which URLs may be opened, and how images and long files are read from them."""

from captune.net.fetch import UrlFetcher, UrlImage
from captune.net.rules import UrlRules, is_url, parse_url
from captune.net.stream import UrlStream

__all__ = ["UrlFetcher", "UrlImage", "UrlRules", "UrlStream", "is_url", "parse_url"]
