"""Caption images with a server of captune: python caption.py PHOTO... (no packages needed)."""

import base64
import json
import os
import sys
from pathlib import Path
from urllib.request import Request, urlopen

url = os.environ.get("CAPTUNE_URL", "http://127.0.0.1:8000")
images = [{"data": base64.b64encode(Path(name).read_bytes()).decode()} for name in sys.argv[1:]]
headers = {"Content-Type": "application/json"}
if key := os.environ.get("CAPTUNE_KEY"):
    headers["Authorization"] = f"Bearer {key}"
body = json.dumps({"images": images}).encode()
with urlopen(Request(f"{url}/v1/caption", body, headers), timeout=90) as answer:
    results = json.load(answer)["results"]
for name, result in zip(sys.argv[1:], results, strict=True):
    print(f"{name}: {result.get('caption') or result['error']['message']}")
