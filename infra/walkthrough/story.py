"""A destination breaks, its owner finds out why, mends it, and gets what was missed: over the API alone.

Run it with dev.env sourced. Nothing of Pushrail's is imported, and nothing beyond Python's own library.
"""

import http.server
import json
import os
import socketserver
import threading
import time
import urllib.error
import urllib.request

URL = os.environ["PUSHRAIL_URL"]
CUSTOMER = f"acme-{os.getpid()}"
WITHIN_S = 90


class Receiver(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """The customer's server: wants a token, and has bad days."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.token = "first-token"
        self.mood = "well"
        self.took = []
        self.told = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def url(self, path):
        return f"http://127.0.0.1:{self.server_port}{path}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/operations":
            self.server.told.append(json.loads(body)["payload"])
            return self.answer(200)
        mood = self.server.mood
        if mood == "hangs":
            time.sleep(5)
            return None
        if mood == "503":
            return self.answer(503, "down for maintenance")
        if self.headers["authorization"] != f"Bearer {self.server.token}":
            return self.answer(401, "this token has expired")
        self.server.took.append(self.headers["webhook-id"])
        return self.answer(200)

    def answer(self, status, text=""):
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass

    def handle(self):
        try:
            super().handle()
        except ConnectionError:
            pass  # whoever waited for a server that hangs has left


def call(method, path, body=None, credential=None):
    request = urllib.request.Request(URL + path, method=method)
    request.add_header("authorization", f"Bearer {credential or os.environ['PUSHRAIL_API_KEY']}")
    if body is not None:
        request.add_header("content-type", "application/json")
        request.data = json.dumps(body).encode()
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
            return json.loads(text) if text else None
    except urllib.error.HTTPError as refusal:
        raise SystemExit(f"error: {method} {path}: {refusal.code} {refusal.read().decode()}") from None


def until(what, look):
    """Asks until the answer is as wanted; gives the answer."""
    end = time.monotonic() + WITHIN_S
    while True:
        seen, wanted = look()
        if wanted:
            return seen
        if time.monotonic() > end:
            raise SystemExit(f"error: {what} did not happen within {WITHIN_S} s; the last that was seen: {seen}")
        time.sleep(0.3)


def chapter(text):
    print(f"\n# {text}")


def check(truth, text):
    if not truth:
        raise SystemExit(f"error: not true: {text}")
    print(f"  {text}")


receiver = Receiver()

chapter("A customer's portal session makes a webhook; the vendor listens to how destinations are")
session = call("POST", "/v1/sessions", {"customerExternalId": CUSTOMER})
token = session["token"]


def portal(method, path, body=None):
    return call(method, path, body, token)


made = portal(
    "POST",
    "/v1/destinations",
    {
        "kind": "webhook",
        "name": "orders",
        "config": {"url": receiver.url("/orders"), "authentication": {"type": "bearer"}},
        "secrets": {"bearerToken": receiver.token},
        "timeoutMs": 1000,
        "retry": {"maxAttempts": 2, "initialDelayMs": 500},
    },
)
destination = made["destinationId"]
here = f"/v1/destinations/{destination}"
call(
    "POST",
    "/v1/customers/pushrail.operations/destinations",
    {"kind": "webhook", "name": f"alerts {CUSTOMER}", "config": {"url": receiver.url("/operations")}},
)
def publish(count):
    ids = []
    for n in range(count):
        event = {"eventType": "order.completed", "customerExternalId": CUSTOMER, "payload": {"order": n}}
        ids.append(call("POST", "/v1/events", event)["eventId"])
    return ids


# A person is never so quick, but a script posts its first event before the router has heard of the destination.
until("the first delivery", lambda: (publish(1), len(receiver.took) > 0))


def deliveries(query):
    return portal("GET", f"/v1/deliveries?destinationId={destination}&limit=100&{query}")["items"]


def all_are(state, ids):
    def look():
        rows = [row for row in deliveries(f"state={state}") if row["eventId"] in ids]
        return rows, len(rows) == len(ids)

    return until(f"{len(ids)} deliveries that are {state}", look)


def health_is(*wanted):
    def look():
        seen = portal("GET", f"{here}/health")
        return seen, seen["health"] in wanted

    return until(f"health {' or '.join(wanted)}", look)


# What was posted until then is not part of the story, and windows here begin with a full second.
time.sleep(2)
began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
receiver.took.clear()
well = publish(5)
all_are("delivered", well)
check(sorted(receiver.took) == sorted(well), "5 events were delivered, under their own ids")
check(health_is("healthy"), "the destination is healthy")

chapter("It breaks: 401, then 503, then it hangs")
missed = []
for mood, code, count in [("401", "http_401", 3), ("503", "http_503", 2), ("hangs", "timeout", 1)]:
    receiver.token, receiver.mood = "second-token", mood
    ids = publish(count)
    rows = all_are("dead", ids)
    missed += ids
    check({row["code"] for row in rows} == {code}, f"{count} deliveries are dead, because of {code}")
    told = portal("GET", f"/v1/deliveries/{rows[0]['deliveryId']}")
    for attempt in told["attempts"]:
        excerpt = attempt.get("responseExcerpt", "")
        print(f"    {attempt['startedAt']} attempt {attempt['attempt']}: {attempt['state']}, {attempt.get('error', '')} {excerpt}")
    check(len(told["attempts"]) == (1 if code == "http_401" else 2), "each attempt is on its timeline, with the error")
    check(told["payload"]["json"]["order"] in range(count), "and what was sent")
    health = portal("GET", f"{here}/health")
    print(f"  health: {health['health']}: {health.get('reason', '')}")
check(health_is("failing"), "the destination is failing")
counts = portal("GET", f"{here}/dead-letters/counts")
print(f"  dead letters: {json.dumps(counts)}")
until(
    "an operational event",
    lambda: (
        receiver.told,
        any(told.get("destinationId") == destination and told["to"] == "failing" for told in receiver.told),
    ),
)
check(True, "and the vendor was told by an event of its own")

chapter("Its owner mends it: the server works again, and Pushrail gets the new token")
receiver.mood = "well"
portal("PATCH", here, {"secrets": {"bearerToken": "second-token"}})
tested = until("a test delivery", lambda: ((t := portal("POST", f"{here}/test")), t["delivered"]))
print(f"  a test delivery: answered {tested['statusCode']} after {tested['latencyMs']:.1f} ms")
receiver.took.clear()
now = publish(1)
all_are("delivered", now)
health = health_is("healthy", "degraded")
check(receiver.took == now, f"what is new arrives; the destination is {health['health']}")


def replay(body):
    job = portal("POST", f"{here}/replays", body)
    path = f"{here}/replays/{job['replayId']}"
    job = until("an estimate", lambda: ((j := portal("GET", path)), j["state"] == "estimated"))
    print(f"  the estimate: {job['estimate']} ({job['estimateKind']})")
    portal("POST", f"{path}/start")
    job = until("the end of a replay", lambda: ((j := portal("GET", path)), j["state"] == "finished"))
    print(f"  the job: {job['state']}, {job['sent']} sent")
    return job


chapter("The dead letters are replayed")
receiver.took.clear()
job = replay({"source": "deadLetters"})
until("the missed events", lambda: (len(receiver.took), len(receiver.took) >= len(missed)))
check(sorted(receiver.took) == sorted(missed), f"all {len(missed)} arrived, once each, under the ids that they always had")
rows = all_are("delivered", missed)
check({row["origin"] for row in rows} == {"replay"}, "the log marks them as a replay")
check({row["replayId"] for row in rows} == {job["replayId"]}, "of this job")

chapter("And a window: everything since this began")
receiver.took.clear()
everything = well + missed + now
replay({"source": "events", "filter": {"since": began}})
until("everything", lambda: (len(receiver.took), len(receiver.took) >= len(everything)))
check(sorted(receiver.took) == sorted(everything), f"all {len(everything)} arrived again, under the ids that they always had")

chapter("The audit trail tells it")
trail = call("GET", f"/v1/audit-trail?customerExternalId={CUSTOMER}&limit=100")["items"]
for row in reversed(trail):
    print(f"  {row['at']} {row['actor']['kind']:8} {row['action']}")
actions = [row["action"] for row in reversed(trail)]
wanted = ["session.create", "destination.create", "destination.update", "replay.create", "replay.start", "replay.create", "replay.start"]
rest = iter(actions)
check(all(action in rest for action in wanted), "in the order in which it was done")
check("-token" not in json.dumps(trail), "and without a secret")
check(call("GET", "/v1/audit-trail/verify")["whole"], "its chain is whole")
