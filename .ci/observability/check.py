"""Checks alerts, pages and dashboard against each other and against a Prometheus that watches a
service at work: check.py PROMETHEUS ADMIN."""

import json
import pathlib
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

PROMETHEUS, ADMIN = sys.argv[1:]
CHART = pathlib.Path("helm/cancelot")
RULES = (CHART / "alerts/rules.yaml").read_text()
DASHBOARD = json.loads((CHART / "dashboards/cancelot.json").read_text())
TESTS = pathlib.Path(".ci/observability/alerts_test.yaml").read_text()
PAGES = pathlib.Path("docs/runbooks")
# Until everything has been scraped and evaluated often enough for a rate.
PATIENCE = 300


def check(holds, what):
    if not holds:
        sys.exit(f"FAILED: {what}")


def get(path, **query):
    url = f"{PROMETHEUS}/api/v1/{path}?{urllib.parse.urlencode(query)}"
    try:
        with urllib.request.urlopen(url) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        sys.exit(f"FAILED: {query or path}: {error.read().decode()}")


def until(holds, what):
    begun = time.monotonic()
    while not holds():
        check(time.monotonic() - begun < PATIENCE, what)
        time.sleep(0.5)


def alerts_have_pages_and_tests():
    alerts = re.findall(r"^ +- alert: (\w+)$", RULES, re.M)
    # Other pages are for what no alert can see.
    pages = {page.stem for page in PAGES.glob("Cancelot*.md")}
    check(len(alerts) == len(set(alerts)) > 10, "alerts have names of their own")
    check(set(alerts) == pages, f"alerts and pages differ: {set(alerts) ^ pages}")
    tested = re.findall(r"alertname: (\w+)\n +eval_time: \w+\n +exp_alerts:\n +- exp_labels", TESTS)
    check(sorted(tested) == sorted(alerts), f"alerts and tests differ: {set(tested) ^ set(alerts)}")
    for block in re.split(r"^ +- alert: ", RULES, flags=re.M)[1:]:
        name = block.split("\n", 1)[0]
        for part in ("severity: ", "summary: ", "description: "):
            check(part in block, f"{name} has no {part}")
        check(f"runbook_url: docs/runbooks/{name}.md\n" in block + "\n", f"{name}: another page")
    for page in PAGES.glob("*.md"):
        text = page.read_text()
        for link in re.findall(r"\]\((\w+\.md)\)", text):
            check((PAGES / link).exists(), f"{page} names {link}")
        if page.stem != "README":
            for part in (f"# {page.stem}\n", "**Meaning.**", "**Impact.**", "**Escalate.**", "## Diagnosis", "## Mitigation", "```sh"):
                check(part in text, f"{page} has no {part!r}")
    return alerts


def names(text):
    """Metrics of ours that a text names, by family."""
    found = re.findall(r"\b(?:cancelot|grpc_server|process)_[a-z_]+\b", text)
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in found}


def metrics_exist(pages):
    with urllib.request.urlopen(f"{ADMIN}/metrics") as answer:
        families = set(re.findall(r"^# TYPE (\w+) ", answer.read().decode(), re.M))
    families |= {re.sub(r"_total$", "", name) for name in families}
    expressions = re.findall(r"expr: (.*?)\n +(?:for|labels):", RULES, re.S)
    described = {
        name
        for name in names(pathlib.Path("docs/metrics.md").read_text())
        if not name.startswith(("process_", "cancelot_v"))
    }
    for where, used in (
        ("an alert", names("\n".join(expressions))),
        ("the dashboard", names(json.dumps(DASHBOARD))),
        ("docs/metrics.md", described),
        ("a page", names(pages)),
    ):
        missing = {name for name in used if name not in families}
        # A pattern of a grep may end anywhere.
        missing = {name for name in missing if not (where == "a page" and any(f.startswith(name) for f in families))}
        check(not missing, f"{where} names metrics that there are not: {missing}")
    missing = {f for f in families if f.startswith("cancelot_")} - described
    missing = {
        f for f in missing if f + "_total" not in described and f.removesuffix("_limit") not in described
    }
    check(not missing, f"docs/metrics.md does not describe {missing}")


def filled(expression):
    """A query of the dashboard as Grafana would send it with everything chosen."""
    for name, value in (
        ("$__rate_interval", "30s"),
        ("$namespace", ".*"),
        ("$job", ".*"),
        ("$account", ".*"),
    ):
        expression = expression.replace(name, value)
    check("$" not in expression, f"a variable that is not known here: {expression}")
    return expression


def has_data(expression):
    result = get("query", query=filled(expression))["result"]
    return any(sample["value"][1] not in ("NaN", "+Inf", "-Inf") for sample in result)


def the_dashboard_shows_something():
    panels = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
    queries = [(panel["title"], target["expr"]) for panel in panels for target in panel["targets"]]
    for title, expression in queries:
        until(lambda: has_data(expression), f"{title!r} has no data: {filled(expression)}")
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"]).groups()
            series = get("series", **{"match[]": filled(metric)})
            check(any(label in of for of in series), f"no {label} to choose")
    for annotation in DASHBOARD["annotations"]["list"]:
        get("query", query=filled(annotation["expr"]))
    return len(panels), len(queries)


def pages_ask_what_there_is():
    """Each line of a page's PromQL can be asked."""
    asked = 0
    for page in PAGES.glob("*.md"):
        for block in re.findall(r"^```promql\n(.*?)^```$", page.read_text(), re.M | re.S):
            for line in block.splitlines():
                get("query", query=line)
                asked += 1
    check(asked > 5, "queries of pages are found")
    return asked


def rules_run():
    def rules():
        return [rule for group in get("rules")["groups"] for rule in group["rules"]]

    until(lambda: all(rule["health"] == "ok" for rule in rules()), "a rule cannot be evaluated")
    firing = [rule["name"] for rule in rules() if rule["state"] == "firing"]
    check(not firing, f"alerts of a healthy service: {firing}")
    return len(rules())


def is_up():
    try:
        with urllib.request.urlopen(f"{PROMETHEUS}/-/ready"):
            return True
    except OSError:
        return False


alerts = alerts_have_pages_and_tests()
print(f"ok: {len(alerts)} alerts, each with a page and a test")
metrics_exist("\n".join(page.read_text() for page in PAGES.glob("*.md")))
print("ok: alerts, pages, dashboard and docs/metrics.md name metrics that exist, and docs/metrics.md all of ours")
until(is_up, "Prometheus does not start")
until(lambda: has_data("cancelot_build_info"), "Prometheus does not scrape")
panels, queries = the_dashboard_shows_something()
print(f"ok: {queries} queries of {panels} panels have data")
print(f"ok: {pages_ask_what_there_is()} queries of pages can be asked")
print(f"ok: {rules_run()} rules are evaluated, and none fires at a healthy service")
