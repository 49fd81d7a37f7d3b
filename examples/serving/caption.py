"""Caption images with a server of captune: python caption.py PHOTO... (no packages needed)."""

import base64
import json
import os
import sys
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

url = os.environ.get("CAPTUNE_URL", "http://127.0.0.1:8000")
images = [{"data": base64.b64encode(Path(name).read_bytes()).decode()} for name in sys.argv[1:]]
headers = {"Content-Type": "application/json"}
if key := os.environ.get("CAPTUNE_KEY"):
    headers["Authorization"] = f"Bearer {key}"
body = json.dumps({"images": images}).encode()
try:
    answer = urlopen(Request(f"{url}/v1/caption", body, headers), timeout=90)
except HTTPError as error:
    answer = error
content = json.load(answer)
if "results" not in content:
    sys.exit(content["error"]["message"])
for name, result in zip(sys.argv[1:], content["results"], strict=True):
    print(f"{name}: {result.get('caption') or result['error']['message']}")
