"""Reads metrics as Prometheus does, holds them against promtool's rules, and prints their samples as JSON."""

import json
import re
import sys

from prometheus_client.parser import text_string_to_metric_families

text = open(sys.argv[1], encoding="utf-8").read()
samples, problems = [], []
for family in text_string_to_metric_families(text):
    name = family.name
    if not family.documentation:
        problems.append(f"{name} has no help")
    if family.type not in ("gauge", "counter"):
        problems.append(f"{name} is of the type {family.type}")
    if (family.type == "counter") != name.endswith("_total"):
        problems.append(f"{name}: _total is for counters, and for them alone")
    if re.search("_(count|sum|bucket|gauge|counter|ms|milliseconds|minutes|hours|kb|mb)(_|$)", name):
        problems.append(f"{name} ends in what is for another type, or has no base unit")
    if not re.fullmatch("recount_[a-z_]+", name):
        problems.append(f"{name} is no name of ours")
    for sample in family.samples:
        samples.append([sample.name, sample.labels, sample.value])
for line in re.findall("^(?!#)[a-z_]+", text, re.M):
    if f"# HELP {line} " not in text or f"# TYPE {line} " not in text:
        problems.append(f"{line} has no HELP or no TYPE")
series = [json.dumps(sample[:2], sort_keys=True) for sample in samples]
if len(series) != len(set(series)):
    problems.append("a series is there twice")
print(json.dumps({"samples": samples, "problems": problems}))
