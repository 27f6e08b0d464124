"""The pages for people: the built console, and the description of the API."""

from runcast._http.console.assets import ASSETS_PATH, DOCS, START, find_asset
from runcast._http.console.responses import asset_response, page_response

__all__ = ("ASSETS_PATH", "DOCS", "START", "asset_response", "find_asset", "page_response")
