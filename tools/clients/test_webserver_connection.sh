#!/usr/bin/env bash
# Tutor sessions (D2): begins a session over HTTP with curl, asks over its socket, and deletes it. --help tells more.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: test_webserver_connection.sh [BASE] [QUESTION]

  test_webserver_connection.sh
  test_webserver_connection.sh https://parley.example "What is a fence?"
  TOKEN=$(./task token --sub service) test_webserver_connection.sh https://parley.example

BASE      the engine's address (http://127.0.0.1:8000)
QUESTION  what is asked (Hello)
TOKEN     a service token, where the engine demands one for /v1/sessions
KB        the session's knowledge base (test; empty: the default one)
PYTHON    a Python with the package websockets (the project's own, else python3)

Needs curl. Exit status: 0 where the session began, answered and was deleted, 1 where not, 2 for wrong usage.
TEXT
}

case "${1:-}" in
-h | --help) usage; exit 0 ;;
-*) usage >&2; exit 2 ;;
esac
[ $# -le 2 ] || { usage >&2; exit 2; }

base=${1:-http://127.0.0.1:8000} question=${2:-Hello} kb=${KB-test}
base=${base%/}
venv=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)/.venv/bin/python
python=${PYTHON:-$([ -x "$venv" ] && echo "$venv" || echo python3)}

fail() { echo "FAILED: $*" >&2; exit 1; }
call() { # METHOD PATH [BODY]: the answer's body; fails for any status but 2xx, and says what came
  local answer status
  answer=$(curl --silent --show-error --max-time 30 --noproxy '*' --write-out '\n%{http_code}' --request "$1" \
    ${TOKEN:+--header "Authorization: Bearer $TOKEN"} --header 'Content-Type: application/json' \
    ${3:+--data "$3"} "$base$2") || fail "no answer from $base"
  status=${answer##*$'\n'}
  case $status in 2??) printf '%s' "${answer%$'\n'*}" ;; *) fail "$1 $2: $status ${answer%$'\n'*}" ;; esac
}
field() { "$python" -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

echo "1. POST $base/v1/sessions"
body=$("$python" -c 'import json, sys; print(json.dumps({"tutor_id": 1, "student_id": 999, "kb_id": sys.argv[1] or None}))' "$kb")
session=$(call POST /v1/sessions "$body")
id=$(field session_id <<<"$session") url=$(field engine_url <<<"$session")
[ "$(field status <<<"$session")" = active ] || fail "the session is not active"
case $url in */ws/ws/"$id"?token=*) ;; *) fail "engine_url does not end in /ws/ws/SESSION?token=TOKEN" ;; esac
echo "   session $id is active"

echo "2. its socket: $question"
if ! URL=$url QUESTION=$question "$python" - <<'PY'
import asyncio, json, os, sys
from websockets.asyncio.client import connect

async def main():
    async with connect(os.environ["URL"], proxy=None) as socket:
        await socket.send(json.dumps({"type": "text", "content": os.environ["QUESTION"]}))
        answer = json.loads(await asyncio.wait_for(socket.recv(), 60))
        print("  ", answer["type"], answer["content"])
        sys.exit(0 if answer["type"] == "text" and answer["content"] else 1)

asyncio.run(main())
PY
then
  call DELETE "/v1/sessions/$id" >/dev/null || true
  fail "no answer over the socket"
fi

echo "3. DELETE $base/v1/sessions/$id"
[ "$(call DELETE "/v1/sessions/$id" | field status)" = deleted ] || fail "the session was not deleted"
echo "OK"
