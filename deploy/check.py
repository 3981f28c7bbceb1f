#!/usr/bin/env python3
"""Checks the dashboard and the rules.

deploy/check.py rules   promtool's checks and tests; that every alert has tests and a runbook; the dashboard's form
deploy/check.py live    runs every query of both against a Prometheus that reads a cluster under load, and fails if one
                        returns nothing. LARDER_CLUSTER is the command that starts larder-cluster
"""

import json
import math
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROMETHEUS = ROOT / "deploy/prometheus"
RULES = [PROMETHEUS / "objectives.yml", PROMETHEUS / "replicas.yml"]
TESTS = [PROMETHEUS / f"tests-{path.name}" for path in RULES]
DASHBOARD = ROOT / "deploy/grafana/larder.json"
GENERATOR = ROOT / "deploy/grafana/dashboard.py"
RUNBOOKS = ROOT / "docs/operations.md"
METRICS = ROOT / "docs/metrics.md"

# Limits of the live check, in seconds.
START, FILL, CALL, END = 120, 120, 10, 20
CATALOG = "larder.catalog.v1.ProductCatalog"


def main():
    checks = {"rules": check_rules, "live": check_live}
    if len(sys.argv) != 2 or sys.argv[1] not in checks:
        sys.exit(__doc__)
    problems = checks[sys.argv[1]]()
    for problem in problems:
        print(f"check: {problem}", file=sys.stderr)
    sys.exit(1 if problems else 0)


# ---- Without a server


def check_rules():
    return [*promtool(), *untested(), *undocumented(), *outdated(), *malformed(), *unknown_metrics()]


def promtool():
    """Runs promtool; the two files of tests, which take some seconds each, at once."""
    commands = [["check", "config", "prometheus.yml"]]
    commands += [["test", "rules", path.name] for path in TESTS]
    running = [
        subprocess.Popen(
            ["promtool", *each], cwd=PROMETHEUS, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for each in commands
    ]
    outputs = [process.communicate()[0] for process in running]
    return [
        f"promtool {' '.join(command)}:\n{output}"
        for command, process, output in zip(commands, running, outputs)
        if process.returncode != 0
    ]


def alerts():
    return sorted(set(re.findall(r"- alert: (\w+)", text(RULES))))


def text(paths):
    return "".join(path.read_text() for path in paths)


def untested():
    tests = text(TESTS)
    for alert in alerts():
        if not re.search(rf"alertname: {alert}\n\s+exp_alerts:\n", tests):
            yield f"no test shows {alert} firing"
        if not re.search(rf"alertname: {alert}\n\s+exp_alerts: \[\]", tests):
            yield f"no test shows {alert} quiet"


def undocumented():
    rules, page = text(RULES), RUNBOOKS.read_text()
    for alert in alerts():
        if f"\n### {alert}\n" not in page:
            yield f"{RUNBOOKS.name} has no heading {alert}"
        if f"runbook: docs/operations.md#{alert.lower()}\n" not in rules:
            yield f"{alert} names no runbook"


def outdated():
    made = subprocess.run([GENERATOR], capture_output=True, text=True, check=True).stdout
    if made != DASHBOARD.read_text():
        yield f"{DASHBOARD.name} is not what {GENERATOR.name} prints"


def panels():
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def malformed():
    """The rules of Grafana's dashboard-linter that a query can break."""
    counts = "|".join(name for name, kind in documented().items() if kind == "counter")
    for panel in panels():
        title = panel["title"]
        if not (title and panel["description"] and panel["fieldConfig"]["defaults"]["unit"] and panel["targets"]):
            yield f"panel {title!r} lacks a title, a description, a unit or a query"
        for query in (target["expr"] for target in panel["targets"]):
            if any('job=~"$job"' not in selector for selector in re.findall(r"{[^}]*}", query)):
                yield f"panel {title!r} does not follow the variables: {query}"
            if any(interval != "$__rate_interval" for interval in re.findall(r"}\[([^]]*)\]", query)):
                yield f"panel {title!r} has an interval of its own: {query}"
            if re.search(rf"\b({counts}){{[^}}]*}}(?!\[)", query):
                yield f"panel {title!r} shows a counter as it is: {query}"


def documented():
    """The metrics of docs/metrics.md with their types, and those that a histogram is made of."""
    rows = dict(re.findall(r"^\| `(\w+)` \| (\w+) ", METRICS.read_text(), re.MULTILINE))
    parts = {
        f"{name}_{part}": "counter" for name in rows if rows[name] == "histogram" for part in ("bucket", "count", "sum")
    }
    return rows | parts


def unknown_metrics():
    """Names that docs/metrics.md does not have. Those that the rules record have a colon."""
    queries = [target["expr"] for panel in panels() for target in panel["targets"]]
    queries += re.findall(r"expr: (?:>-)?((?:.|\n {10})+)", text(RULES))
    # Without labels and recorded names, what stands before a selector, a bracket or a space is a metric or a function.
    bare = re.sub(r'"[^"]*"|\b(?:by|on) \([^)]*\)|\w+:[\w:]+', "", "\n".join(queries))
    names = set(re.findall(r"\b[a-z]+_\w+(?={|\[|\)| |$)", bare, re.MULTILINE))
    for name in sorted(names - documented().keys() - {"group_left", "group_right", "histogram_quantile"}):
        yield f"{METRICS.name} knows no {name}"


# ---- With a cluster


def check_live():
    with tempfile.TemporaryDirectory(prefix="larder-check-") as folder:
        cluster = Cluster()
        try:
            cluster.wait()
            prometheus = Prometheus(Path(folder), cluster.metrics)
            try:
                with Load(cluster):
                    return empty_queries(prometheus)
            finally:
                prometheus.end()
        finally:
            cluster.end()


def empty_queries(prometheus):
    """Asks until every query has returned a number, and returns those that did not in time."""
    prometheus.wait()
    waiting = {**dashboard_queries(), **prometheus.rules()}
    total, deadline = len(waiting), time.monotonic() + FILL
    while waiting and time.monotonic() < deadline:
        waiting = {query: source for query, source in waiting.items() if not prometheus.has_numbers(query)}
        time.sleep(0.5)
    print(f"{total - len(waiting)} of {total} queries returned numbers")
    return [f"empty: {source}: {query}" for query, source in waiting.items()]


def dashboard_queries():
    """The queries of the panels and of the variables, with everything selected."""
    found = {}
    for panel in panels():
        for target in panel["targets"]:
            query = target["expr"].replace("$__rate_interval", "15s").replace("$job", ".+").replace("$instance", ".+")
            found[query] = f"panel {panel['title']!r}"
    for variable in json.loads(DASHBOARD.read_text())["templating"]["list"]:
        if values := re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]):
            query = f"count by ({values[2]}) ({values[1]})".replace("$job", ".+")
            found[query] = f"variable {variable['name']}"
    return found


class Cluster:
    """Three replicas, as larder-cluster starts them."""

    def __init__(self):
        command = shlex.split(os.environ.get("LARDER_CLUSTER", "larder-cluster"))
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
        self.text = ""

    def wait(self):
        watchdog = threading.Timer(START, self.process.kill)
        watchdog.start()
        for line in self.process.stdout:
            self.text += line
            if line.startswith("Ctrl-C"):
                break
        watchdog.cancel()
        replicas = re.findall(r"^  (\S+)  pid \d+, .*HTTP at (\S+),", self.text, re.MULTILINE)
        if len(replicas) != 3:
            sys.exit(f"check: larder-cluster did not start:\n{self.text}")
        self.calls, self.metrics = zip(*replicas)
        self.database = re.search(r"^  (postgres\S+)", self.text, re.MULTILINE)[1]

    def end(self):
        end(self.process, signal.SIGINT)


class Prometheus:
    """A Prometheus on a free port that reads the replicas and the rules each second."""

    def __init__(self, folder, targets):
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(path) for path in RULES],
            "scrape_configs": [{"job_name": "larder", "static_configs": [{"targets": list(targets)}]}],
        }
        # Any JSON is YAML.
        (folder / "prometheus.yml").write_text(json.dumps(config))
        address = free_address()
        self.url = f"http://{address}"
        self.process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address={address}",
                "--log.level=warn",
            ],
            start_new_session=True,
        )

    def wait(self):
        deadline = time.monotonic() + START
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                urllib.request.urlopen(f"{self.url}/-/ready", timeout=CALL).close()
                return
            except OSError:
                time.sleep(0.1)
        sys.exit("check: Prometheus did not start")

    def get(self, path, **parameters):
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=CALL) as reply:
            return json.load(reply)["data"]

    def rules(self):
        """The queries of the rules. A comparison returns 0 or 1 here, because a quiet alert returns nothing."""
        rules = [rule for group in self.get("rules")["groups"] for rule in group["rules"]]
        if not rules:
            sys.exit("check: Prometheus has no rules")
        return {re.sub(r" (==|!=|>=|<=|>|<) ", r" \1 bool ", rule["query"]): rule["name"] for rule in rules}

    def has_numbers(self, query):
        result = self.get("query", query=query)["result"]
        return any(not math.isnan(float(series["value"][1])) for series in result)

    def end(self):
        end(self.process, signal.SIGTERM)


class Load:
    """Reads and writes on all replicas, and changes by SQL, until the end of the block."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(each,)) for each in (self.read, self.write, self.type)]

    def __enter__(self):
        listed = self.call(self.cluster.calls[0], "ListProducts", {"page_size": 50})
        self.ids = [product["id"] for product in json.loads(listed)["products"]]
        for thread in self.threads:
            thread.start()

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()

    def run(self, action):
        turn = 0
        while not self.over.is_set():
            action(turn, self.cluster.calls[turn % 3], self.ids[turn % len(self.ids)])
            turn += 1

    def read(self, turn, address, product):
        self.call(address, "GetProduct", {"id": product})
        method, request = [
            ("ListProducts", {"page_size": 5}),
            ("SearchProducts", {"query": "copper", "page_size": 5}),
            ("BatchGetProducts", {"ids": self.ids[:10]}),
            ("GetProduct", {"id": f"absent-{turn}"}),
        ][turn % 4]
        self.call(address, method, request)

    def write(self, turn, address, product):
        changed = {"product": {"id": product, "name": f"Changed {turn}"}, "update_mask": {"paths": ["name"]}}
        self.call(address, "UpdateProduct", changed)

    def type(self, turn, _address, product):
        statement = f"UPDATE products SET name = 'Typed {turn}' WHERE id = '{product}'"
        self.command(["psql", self.cluster.database, "-qc", statement])
        self.over.wait(0.2)

    def call(self, address, method, request):
        return self.command(["grpcurl", "-plaintext", "-d", json.dumps(request), address, f"{CATALOG}/{method}"])

    def command(self, words):
        return subprocess.run(words, capture_output=True, text=True, timeout=CALL).stdout


def free_address():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return "{}:{}".format(*probe.getsockname())


def end(process, how):
    process.send_signal(how)
    try:
        process.wait(END)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


if __name__ == "__main__":
    main()
