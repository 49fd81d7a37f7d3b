#!/bin/sh
# Caption images with a server of captune: sh caption.sh PHOTO...
set -eu
url=${CAPTUNE_URL:-http://127.0.0.1:8000}
count=$#
while [ "$count" -gt 0 ]; do
  # In quotes, because curl ends an unquoted name at , or ;
  set -- "$@" -F "images=@\"$1\""
  shift
  count=$((count - 1))
done
# --retry waits as long as Retry-After says while the server is busy.
curl --silent --show-error --fail-with-body --max-time 90 --retry 5 \
  -H "Authorization: Bearer ${CAPTUNE_KEY:-}" "$@" "$url/v1/caption"
