#!/usr/bin/env bash
# ray 2.60.0, ray.init() of a cluster on this machine, with usage statistics switched off.
# One would guess: with RAY_USAGE_STATS_ENABLED=0 and include_dashboard=False, the process that reports usage does not run, or
#   does nothing.
# Seen: it is started, and asks the metadata services of three clouds whether the machine is theirs: two requests to
#   169.254.169.254, and one to a name, which is looked up. The answer would be part of the report that is never sent.
#   Each request waits up to a second.
# Why a user of this field meets it: batch inference with Ray on one machine, in a network where such requests are forbidden or
#   watched. Here the requests end at a proxy of this script, which prints them.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet "ray==2.60.0" "requests==2.34.2" 2>/dev/null
cd "$folder"
HOME="$folder" "$folder/venv/bin/python" - <<'PYTHON'
import http.server
import os
import sys
import threading
import time

seen = []


class Proxy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        seen.append(self.path)
        self.send_error(404)

    def log_message(self, *message):
        pass


proxy = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
threading.Thread(target=proxy.serve_forever, daemon=True).start()
os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    "http_proxy": f"http://127.0.0.1:{proxy.server_port}",
    # Ray's own connections do not use it.
    "RAY_grpc_enable_http_proxy": "0",
    "no_grpc_proxy": "*",
}
import ray  # noqa: E402

ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
until = time.monotonic() + 30
while len(seen) < 3 and time.monotonic() < until:
    time.sleep(0.2)
ray.shutdown()
print(f"ray {ray.__version__}, RAY_USAGE_STATS_ENABLED=0: {len(seen)} requests")
for address in seen:
    print(f"  {address}")
if sum("169.254.169.254" in address for address in seen) != 2 or len(seen) != 3:
    sys.exit("the behavior has changed; expected 3 requests, 2 of them to 169.254.169.254")
PYTHON
