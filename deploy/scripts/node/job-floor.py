"""Creates empty Jobs one after the other and reads the start time from the log of each: job-floor.py API CERTIFICATES NAMESPACE COUNT.

The times are comparable because API server, container and this program share one clock.
"""

import json
import math
import ssl
import sys
import time
import urllib.parse
import urllib.request

api, certificates, namespace, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
PATIENCE_S = 120

context = ssl.create_default_context(cafile=certificates + "/ca.crt")
context.load_cert_chain(certificates + "/admin.crt", certificates + "/admin.key")


def ask(path, body=None):
    request = urllib.request.Request(api + path, body and json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, context=context, timeout=30) as answer:
        return answer.read()


def job(name):
    container = {"name": "empty", "image": "shell:dev", "imagePullPolicy": "Never", "command": ["date", "+%s.%N"]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": {"spec": {"restartPolicy": "Never", "containers": [container]}}},
    }


def measure(name):
    jobs = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    created = time.time()
    ask(jobs, job(name))
    while not json.loads(ask(f"{jobs}/{name}"))["status"].get("succeeded"):
        if time.time() - created > PATIENCE_S:
            sys.exit(f"job-floor: {name} did not succeed in {PATIENCE_S} s")
        time.sleep(0.05)
    succeeded = time.time()
    pods = f"/api/v1/namespaces/{namespace}/pods"
    selector = urllib.parse.quote(f"job-name={name}")
    (pod,) = json.loads(ask(f"{pods}?labelSelector={selector}"))["items"]
    began = float(ask(f"{pods}/{pod['metadata']['name']}/log"))
    return began - created, succeeded - created


def percentile(values, percent):
    """The smallest value that the given percentage of the values does not exceed."""
    return sorted(values)[math.ceil(percent / 100 * len(values)) - 1]


measured = [measure(f"empty-{number}") for number in range(count)]
result = {"jobs": count}
for name, values in zip(("first_instruction", "succeeded"), zip(*measured)):
    for percent in (50, 99):
        result[f"{name}_p{percent}_seconds"] = round(percentile(values, percent), 3)
print(json.dumps(result))
print("job floor: {jobs} Jobs; first instruction after {first_instruction_p50_seconds} s (p50), "
      "{first_instruction_p99_seconds} s (p99); succeeded after {succeeded_p50_seconds} s (p50), "
      "{succeeded_p99_seconds} s (p99)".format(**result), file=sys.stderr)
