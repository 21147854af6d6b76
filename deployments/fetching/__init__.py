"""Downloads from URLs that strangers name, safely; `fetch` is the way in."""
