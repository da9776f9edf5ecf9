#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""/metrics: promtool has nothing to say, values are true, a real Prometheus scrapes them."""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import socket
import time
import urllib.parse
import urllib.request

from http_support import Server, SKIPPED, check, finish, program, until


def values(text):
    found = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            check(name not in found, "%s stands twice" % name)
            found[name] = float(value)
    return found


def well_formed(text):
    check(text.endswith("\n"), "ends with a newline")
    families = re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M)
    check(len({n for n, _ in families}) == len(families), "each family once")
    helped = re.findall(r"^# HELP (\S+) .", text, re.M)
    check(helped == [n for n, _ in families], "HELP and TYPE for each family")
    kinds = dict(families)
    for name in values(text):
        bare = name.split("{")[0]
        base = re.sub(r"_(bucket|sum|count)$", "", bare)
        check(bare in kinds or kinds.get(base) == "histogram", "%s has a TYPE" % name)


def histogram_is_true(v, name, label):
    rows = [(k, n) for k, n in v.items() if k.startswith(name + "_bucket{" + label)]
    counts = [n for _, n in rows]
    check(counts == sorted(counts) and len(counts) >= 12, "%s buckets are cumulative" % name)
    total = v[name + "_count" + ("{%s}" % label.rstrip(",") if label else "")]
    check(counts[-1] == total, "%s le=+Inf is the count" % name)
    return total


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def ask(port, query):
    url = "http://127.0.0.1:%d/api/v1/query?%s" % (port, urllib.parse.urlencode({"query": query}))
    try:
        with urllib.request.urlopen(url, timeout=5) as r:
            result = json.load(r)["data"]["result"]
        return float(result[0]["value"][1]) if result else None
    except (OSError, ValueError, KeyError):
        return None


def scraped(server):
    if not shutil.which("prometheus"):
        print("no prometheus to scrape with")
        return
    home = tempfile.mkdtemp(prefix="copper-prometheus-")
    config = os.path.join(home, "prometheus.yml")
    with open(config, "w") as f:
        f.write("scrape_configs:\n- job_name: copper\n  scrape_interval: 1s\n  scrape_timeout: 1s\n"
                "  static_configs:\n  - targets: ['%s']\n" % server.address)
    port = free_port()
    log = open(os.path.join(home, "log"), "w")
    p = subprocess.Popen(["prometheus", "--config.file=" + config,
                          "--storage.tsdb.path=" + os.path.join(home, "data"),
                          "--web.listen-address=127.0.0.1:%d" % port], stdout=log, stderr=log)
    try:
        check(until(lambda: ask(port, "up") == 1, 40), "a real Prometheus scrapes us: up is 1")
        check(until(lambda: (ask(port, "rate(copper_switches_total[5s])") or 0) > 0, 20),
              "rate() of a counter")
        check(until(lambda: ask(port, "histogram_quantile(0.9, go_sched_latencies_seconds_bucket)")
                    is not None, 10), "histogram_quantile() of delays")
    finally:
        p.terminate()
        p.wait(20)
        log.close()
        shutil.rmtree(home, ignore_errors=True)


def with_decimal_comma():
    """A program that has chosen a locale with a comma: what machines read has points, and so has what
    they write."""
    home = tempfile.mkdtemp(prefix="copper-locale-")
    source = os.path.join(home, "source")
    with open(source, "w") as f:
        f.write('LC_NUMERIC\ndecimal_point "<U002C>"\nthousands_sep ""\ngrouping -1\n'
                'END LC_NUMERIC\n')
    subprocess.run(["localedef", "-c", "--no-archive", "-i", source, os.path.join(home, "comma")],
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    check(os.path.exists(os.path.join(home, "comma/LC_NUMERIC")), "localedef makes a locale")
    env = {"LOCPATH": home, "LC_ALL": "", "LC_NUMERIC": "comma", "COPPER_BUDGET": "0.5%"}
    with Server(program("http_coroutines"), "5", env=env) as server:
        with urllib.request.urlopen("http://%s/metrics" % server.address, timeout=20) as r:
            text = r.read().decode()
        check(not re.search(r" \d+,\d", text), "no decimal comma in /metrics")
        check("\ncopper_profiler_budget_ratio 0.005" in text, "COPPER_BUDGET=0.5% is read")
        began = time.monotonic()
        with urllib.request.urlopen(server.url + "/trace?seconds=2.5", timeout=20) as r:
            r.read()
        check(time.monotonic() - began >= 2.5, "seconds=2.5 is no second, the default")
    shutil.rmtree(home)


if not shutil.which("promtool"):
    print("no promtool to judge with")
    sys.exit(SKIPPED)
with Server(program("http_coroutines"), "50",
            env={"COPPER_SCHEDULE_RATE": "10us", "COPPER_MUTEX_FRACTION": "1"}) as server:
    with urllib.request.urlopen("http://%s/metrics" % server.address, timeout=20) as r:
        check(r.status == 200, "status")
        check(r.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8", "type")
        text = r.read().decode("utf-8")
    well_formed(text)
    v = values(text)
    r = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
    check(r.returncode == 0 and not r.stdout and not r.stderr,
          "promtool: %d %s%s" % (r.returncode, r.stdout, r.stderr))
    check(v["go_goroutines"] >= 56, "coroutines live: %s" % v["go_goroutines"])
    check(v['copper_coroutines{state="waiting"}'] >= 50, "coroutines wait")
    check(v["go_sched_gomaxprocs_threads"] == 3, "P")
    check(v["copper_switches_total"] > 0 and v["copper_parks_total"] > 0, "switches and parks")
    check(v['copper_p_seconds_total{state="running"}'] > 0, "P run")
    check(v["process_resident_memory_bytes"] > 1e6 and v["process_open_fds"] > 2, "process")
    with open("/proc/uptime") as f:
        uptime = float(f.read().split()[0])
    check(v["process_start_time_seconds"] > 1e9 and uptime > 0, "start time")
    check(histogram_is_true(v, "go_sched_latencies_seconds", "") > 0, "delays were counted")
    check(histogram_is_true(v, "copper_schedule_delay_seconds", 'cause="queue",') > 0,
          "delays by cause")
    with urllib.request.urlopen("http://%s/metrics?go=0" % server.address, timeout=20) as r:
        check("\ngo_" not in r.read().decode(), "go=0 leaves Go's names out")
    scraped(server)
with_decimal_comma()
with Server(program("http_threads")) as server:
    with urllib.request.urlopen("http://%s/metrics" % server.address, timeout=20) as r:
        text = r.read().decode()
    well_formed(text)
    check("go_goroutines" not in text and "go_threads" in text, "no coroutines, no count of them")
finish()
